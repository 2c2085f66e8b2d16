// The bench's peer for Boost.Interprocess message_queue. Who waits does so on its
// mutex and condition in shared memory, which are the C library's.
#include "loops.hpp"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <string>

namespace bip = boost::interprocess;

struct queue {
	bip::message_queue q;

	explicit queue(const char *end)
	    : q(bip::open_or_create, (std::string(args.id) + end).c_str(), args.cap, args.size)
	{
	}

	template <size_t W> void send(const value<W> &v) { q.send(v.w, sizeof v, 0); }

	template <size_t W> void recv(value<W> &v)
	{
		bip::message_queue::size_type got;
		unsigned priority;
		q.receive(v.w, sizeof v, got, priority);
	}
};

template <size_t W> void run()
{
	queue there("there"), back("back");
	work<W>(there, back);
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	if (is(args.row, "open"))
		opens<queue>([](queue &) {});
	else
		WITH_SIZE(run);
}
