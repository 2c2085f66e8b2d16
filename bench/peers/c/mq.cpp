// The bench's peer for POSIX message queues. All wait in the kernel.
#include "loops.hpp"

#include <mqueue.h>
#include <string>

/* fs.mqueue.msg_max, which counts for who may not raise it. */
static long allowed()
{
	long most = 1;
	FILE *f = fopen("/proc/sys/fs/mqueue/msg_max", "r");
	if (f) {
		if (fscanf(f, "%ld", &most) != 1)
			most = 1;
		fclose(f);
	}
	return most;
}

struct queue {
	mqd_t q;

	explicit queue(const char *end)
	{
		std::string name = std::string("/") + args.id + end;
		struct mq_attr attr = {};
		attr.mq_msgsize = args.size;
		// The system allows few values (fs.mqueue.msg_max) and few bytes (ulimit -q) to
		// those who may not raise the limits: so as many as it allows.
		for (attr.mq_maxmsg = args.cap; attr.mq_maxmsg > 0;) {
			q = mq_open(name.c_str(), O_RDWR | O_CREAT, 0600, &attr);
			if (q != (mqd_t)-1 || (errno != EINVAL && errno != EMFILE))
				break;
			attr.mq_maxmsg = std::min(attr.mq_maxmsg / 2, allowed());
		}
		if (q == (mqd_t)-1 || mq_getattr(q, &attr) < 0)
			die("mq_open: %s", strerror(errno));
		if ((uint64_t)attr.mq_maxmsg < args.cap)
			snprintf(result.note, sizeof result.note, "has room for %ld values only, which the system's limits allow", attr.mq_maxmsg);
	}

	template <size_t W> void send(const value<W> &v)
	{
		if (mq_send(q, (const char *)v.w, sizeof v, 0) < 0)
			die("mq_send: %s", strerror(errno));
	}

	template <size_t W> void recv(value<W> &v)
	{
		if (mq_receive(q, (char *)v.w, sizeof v, 0) < 0)
			die("mq_receive: %s", strerror(errno));
	}
};

template <size_t W> void run()
{
	queue there("there");
	queue back = is(args.row, "pingpong") ? queue("back") : there;
	work<W>(there, back);
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	if (is(args.row, "open"))
		opens<queue>([](queue &q) { mq_close(q.q); });
	else
		WITH_SIZE(run);
}
