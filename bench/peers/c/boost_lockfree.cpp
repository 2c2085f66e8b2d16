// The bench's peer for Boost.Lockfree, in one process: spsc_queue (mode spsc) and queue.
// Neither waits: who finds it full or empty looks again. With more threads than CPUs
// (the row many) it lets others run first.
#include "loops.hpp"

#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>

template <class B, size_t W> struct polled {
	B q;
	bool shares = args.senders + args.receivers > 2;

	explicit polled(size_t cap) : q(cap) {}

	void pause()
	{
		if (shares)
			sched_yield();
	}

	void send(const value<W> &v)
	{
		while (!q.push(v))
			pause();
	}

	void recv(value<W> &v)
	{
		while (!q.pop(v))
			pause();
	}
};

template <size_t W> struct spsc : polled<boost::lockfree::spsc_queue<value<W>>, W> {
	using polled<boost::lockfree::spsc_queue<value<W>>, W>::polled;

	void send_some(const value<W> *v, size_t n)
	{
		for (size_t done = 0; done < n;)
			done += this->q.push(v + done, n - done);
	}

	size_t recv_some(value<W> *v, size_t n)
	{
		size_t got = 0;
		while (got == 0)
			got = this->q.pop(v, n);
		return got;
	}
};

template <size_t W> void run()
{
	if (is(args.mode, "spsc")) {
		spsc<W> there(args.cap), back(args.cap);
		within<W>(there, back);
	} else {
		// Fixed in size, so that it never asks for memory; a node more than values.
		typedef polled<boost::lockfree::queue<value<W>, boost::lockfree::fixed_sized<true>>, W> mpmc;
		mpmc there(args.cap), back(args.cap);
		within<W>(there, back);
	}
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	WITH_SIZE(run);
}
