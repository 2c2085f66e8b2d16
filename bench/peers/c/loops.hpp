// The rows' loops for peers in C++. A peer gives a class whose send and recv move one
// value of as many words as it was told; what else a class has (flush, send_some and
// recv_some for batches) is used where it is there.
#ifndef LOOPS_HPP
#define LOOPS_HPP

#include "peer.h"

#include <algorithm>
#include <mutex>
#include <sched.h>
#include <thread>
#include <vector>

template <class Q> auto flush(Q &q, int) -> decltype(q.flush()) { return q.flush(); }
template <class Q> void flush(Q &, long) {}

template <size_t W> struct value {
	uint64_t w[W];
};

// What one side did; in one process there are several.
struct tally {
	std::vector<int64_t> lat;
	std::vector<uint64_t> next, count, sum;
	uint64_t received = 0;
};

template <size_t W, class Q> void send_all(Q &q)
{
	value<W> v{};
	for (uint64_t seq = 0; seq < args.count; seq++) {
		mark(v.w, W, 0, seq);
		q.send(v);
	}
	flush(q, 0);
}

template <size_t W, class Q> void recv_all(Q &q)
{
	value<W> v;
	for (uint64_t seq = 0; seq < args.count; seq++) {
		q.recv(v);
		check(v.w, W, seq);
	}
}

template <size_t W, class Q> auto send_batches(Q &q, int) -> decltype(q.send_some((value<W> *)0, size_t(0)))
{
	std::vector<value<W>> some(args.batch);
	for (uint64_t seq = 0; seq < args.count;) {
		size_t n = std::min<uint64_t>(args.batch, args.count - seq);
		for (size_t i = 0; i < n; i++)
			mark(some[i].w, W, 0, seq++);
		q.send_some(some.data(), n);
	}
}

template <size_t W, class Q> void send_batches(Q &, long) { die("cannot send batches"); }

template <size_t W, class Q> auto recv_batches(Q &q, int) -> decltype((void)q.recv_some((value<W> *)0, size_t(0)))
{
	std::vector<value<W>> some(args.batch);
	for (uint64_t seq = 0; seq < args.count;) {
		size_t n = q.recv_some(some.data(), std::min<uint64_t>(args.batch, args.count - seq));
		for (size_t i = 0; i < n; i++)
			check(some[i].w, W, seq++);
	}
}

template <size_t W, class Q> void recv_batches(Q &, long) { die("cannot receive batches"); }

template <size_t W, class Q> void ping(Q &there, Q &back, tally &t)
{
	value<W> v{};
	uint64_t left = args.every;
	t.lat.reserve(args.count / args.every + 1);
	for (uint64_t seq = 0; seq < args.count; seq++) {
		int64_t began = --left == 0 ? now() : 0;
		mark(v.w, W, 0, seq);
		there.send(v);
		back.recv(v);
		check(v.w, W, seq);
		if (left == 0) {
			t.lat.push_back(now() - began);
			left = args.every;
		}
	}
}

template <size_t W, class Q> void pong(Q &there, Q &back)
{
	value<W> v;
	for (uint64_t seq = 0; seq < args.count; seq++) {
		there.recv(v);
		check(v.w, W, seq);
		back.send(v);
	}
}

template <size_t W, class Q> void send_share(Q &q, uint64_t from)
{
	value<W> v{};
	for (uint64_t seq = 0; seq < args.count; seq++) {
		mark(v.w, W, from, seq);
		q.send(v);
	}
	for (uint64_t i = 0; i < args.receivers; i++) {
		mark(v.w, W, from, PILL);
		q.send(v);
	}
}

template <size_t W, class Q> void recv_shares(Q &q, tally &t)
{
	value<W> v;
	t.next.resize(args.senders), t.count.resize(args.senders), t.sum.resize(args.senders);
	for (uint64_t pills = 0; pills < args.senders;) {
		q.recv(v);
		uint64_t from = v.w[0] >> 48, seq = v.w[0] & PILL;
		if (v.w[W - 1] != v.w[0] || from >= args.senders)
			wrong(v.w[0], v.w[W - 1], 0);
		if (seq == PILL) {
			pills++;
			continue;
		}
		if (seq < t.next[from])
			wrong(v.w[0], v.w[W - 1], t.next[from]);
		t.next[from] = seq + 1;
		t.count[from]++;
		t.sum[from] += seq;
		t.received++;
	}
}

template <size_t W, class Q> void one_side(Q &there, Q &back, bool sends, uint64_t index, tally &t)
{
	if (is(args.row, "oneway"))
		sends ? send_all<W>(there) : recv_all<W>(there);
	else if (is(args.row, "batch"))
		sends ? send_batches<W>(there, 0) : recv_batches<W>(there, 0);
	else if (is(args.row, "pingpong"))
		sends ? ping<W>(there, back, t) : pong<W>(there, back);
	else if (is(args.row, "many"))
		sends ? send_share<W>(there, index) : recv_shares<W>(there, t);
	else if (is(args.row, "idle")) {
		args.count = 1;
		if (sends)
			std::this_thread::sleep_for(std::chrono::nanoseconds(args.idle));
		sends ? send_all<W>(there) : recv_all<W>(there);
	} else
		die("cannot do the row %s", args.row);
}

static inline void tell(const std::vector<tally> &all)
{
	static std::vector<int64_t> lat;
	uint64_t(*got)[2] = (uint64_t(*)[2])calloc(args.senders, sizeof *got);
	uint64_t received = 0;
	for (auto &t : all) {
		lat.insert(lat.end(), t.lat.begin(), t.lat.end());
		for (size_t i = 0; i < t.count.size(); i++)
			got[i][0] += t.count[i], got[i][1] += t.sum[i];
		received += t.received;
	}
	result.lat = lat.data();
	result.lats = lat.size();
	if (is(args.row, "many"))
		result.got = got;
	result.count = is(args.row, "many") ? received : args.count;
	answer();
}

// One of two processes.
template <size_t W, class Q> void work(Q &there, Q &back)
{
	std::vector<tally> t(1);
	ready_and_go();
	one_side<W>(there, back, is(args.role, "send"), args.index, t[0]);
	tell(t);
}

// All sides as threads of this process: the senders on its first CPU, the receivers on
// its second.
template <size_t W, class Q> void within(Q &there, Q &back)
{
	cpu_set_t all;
	sched_getaffinity(0, sizeof all, &all);
	std::vector<int> cpus;
	for (int c = 0; c < CPU_SETSIZE; c++)
		if (CPU_ISSET(c, &all))
			cpus.push_back(c);
	std::vector<tally> t(args.senders + args.receivers);
	std::vector<std::thread> threads;
	ready_and_go();
	for (size_t i = 0; i < t.size(); i++)
		threads.emplace_back([&, i] {
			bool sends = i >= args.receivers;
			cpu_set_t one;
			CPU_ZERO(&one);
			CPU_SET(sends ? cpus.front() : cpus.back(), &one);
			sched_setaffinity(0, sizeof one, &one);
			one_side<W>(there, back, sends, sends ? i - args.receivers : i, t[i]);
		});
	for (auto &thread : threads)
		thread.join();
	tell(t);
}

// Only what opening is for others: the queue is there, and another holds it.
template <class Q, class Close> void opens(Close close)
{
	Q held("there");
	room_for(args.count);
	ready_and_go();
	for (uint64_t i = 0; i < args.count; i++) {
		int64_t began = now();
		{
			Q q("there");
			close(q);
		}
		result.lat[result.lats++] = now() - began;
	}
	result.count = args.count;
	answer();
}

// Calls f with the size in words as a constant.
#define WITH_SIZE(f)                                                          \
	do {                                                                  \
		if (args.size == 8)                                           \
			f<1>();                                               \
		else if (args.size == 64)                                     \
			f<8>();                                               \
		else if (args.size == 1024)                                   \
			f<128>();                                             \
		else                                                          \
			die("no values of %" PRIu64 " bytes", args.size);     \
	} while (0)

#endif
