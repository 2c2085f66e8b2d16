// The bench's peer for ZeroMQ: libzmq, sockets of the kind PAIR over ipc, one thread for
// input and output, half of the capacity as the high-water mark of each side.
#include "loops.hpp"

#include <string>
#include <zmq.h>

struct socket_pair {
	void *s;

	template <size_t W> void send(const value<W> &v)
	{
		if (zmq_send(s, v.w, sizeof v, 0) < 0)
			die("zmq_send: %s", zmq_strerror(errno));
	}

	template <size_t W> void recv(value<W> &v)
	{
		if (zmq_recv(s, v.w, sizeof v, 0) < 0)
			die("zmq_recv: %s", zmq_strerror(errno));
	}
};

template <size_t W> void run()
{
	void *context = zmq_ctx_new();
	socket_pair s = {zmq_socket(context, ZMQ_PAIR)};
	int mark = args.cap / 2;
	zmq_setsockopt(s.s, ZMQ_SNDHWM, &mark, sizeof mark);
	zmq_setsockopt(s.s, ZMQ_RCVHWM, &mark, sizeof mark);
	std::string url = std::string("ipc://") + args.dir + "/socket";
	int failed = is(args.role, "recv") ? zmq_bind(s.s, url.c_str()) : zmq_connect(s.s, url.c_str());
	if (failed)
		die("%s: %s", url.c_str(), zmq_strerror(errno));
	value<W> hello{};
	if (is(args.role, "recv"))
		s.recv(hello);
	else
		s.send(hello);
	work<W>(s, s);
	// The sender stays until all is received: of a socket whose other end is gone what is still in the kernel is dropped.
	if (is(args.role, "recv"))
		s.send(hello);
	else
		s.recv(hello);
	zmq_close(s.s);
	zmq_ctx_term(context); // Sends what is left.
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	WITH_SIZE(run);
}
