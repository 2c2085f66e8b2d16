/* The floor that everything in the bench is compared with, in C: the yardstick, a plain
 * ring between two processes, copies from cache to cache, and a futex.
 *
 * The modes of the ring (one sender, one receiver, no roles, no deaths, no waking):
 *
 *   ring    each slot is a word and the value. The word is 2*lap when the slot is free and
 *           2*lap+1 when it is full. The value is copied by 8-byte loads and stores, which
 *           the compiler is kept from joining: a wide load of what was just stored in
 *           pieces waits until the stores have left the store buffer.
 *   ring32  the same, but only each 32nd slot's word is used, for the 32 slots from there on
 *   memcpy  the same, but the value is copied by memcpy; in the row inplace
 *   copy    no ring: what memcpy alone takes, from the other process's cache
 *   futex   there and back, each waiting in the kernel
 */
#include "peer.h"

#include <linux/futex.h>
#include <sys/syscall.h>

enum { LINE = 64, AWAY = 2 * LINE };

struct ring {
	unsigned char *slots;
	size_t stride, cap;
	uint64_t pos;
};

#define INLINE static inline __attribute__((always_inline))

static struct ring ring(const char *name)
{
	/* As in the library: small slots share a line and do not cross one. */
	size_t stride = 8 + args.size <= 16 ? 16 : (8 + args.size + LINE - 1) / LINE * LINE;
	struct ring r = {0, stride, args.cap, 0};
	if (r.cap & (r.cap - 1))
		die("the capacity is to be a power of two");
	r.slots = (unsigned char *)shared(name, r.cap * stride);
	return r;
}

INLINE uint64_t *slot(struct ring *r, uint64_t pos) { return (uint64_t *)(r->slots + (pos & (r->cap - 1)) * r->stride); }

INLINE uint64_t lap(struct ring *r, uint64_t pos) { return 2 * (pos / r->cap); }

INLINE void await(uint64_t *word, uint64_t want)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != want)
		;
}

INLINE void set(uint64_t *word, uint64_t to) { __atomic_store_n(word, to, __ATOMIC_RELEASE); }

/* One 8-byte load and store after the other. */
INLINE void copy(uint64_t *to, const uint64_t *from, size_t words, int by_memcpy)
{
	if (by_memcpy) {
		size_t bytes = words * 8;
		__asm__ volatile("" : "+r"(bytes)); /* so that it is the C library's */
		memcpy(to, from, bytes);
		__asm__ volatile("" ::: "memory");
		return;
	}
	for (size_t i = 0; i < words; i++)
		*(volatile uint64_t *)(to + i) = *(const volatile uint64_t *)(from + i);
}

INLINE void put(struct ring *r, const uint64_t *v, size_t words, int by_memcpy)
{
	uint64_t *s = slot(r, r->pos);
	await(s, lap(r, r->pos));
	copy(s + 1, v, words, by_memcpy);
	set(s, lap(r, r->pos) + 1);
	r->pos++;
}

INLINE void take(struct ring *r, uint64_t *v, size_t words, int by_memcpy)
{
	uint64_t *s = slot(r, r->pos);
	await(s, lap(r, r->pos) + 1);
	copy(v, s + 1, words, by_memcpy);
	set(s, lap(r, r->pos) + 2);
	r->pos++;
}

INLINE void send_all(struct ring *r, size_t words, size_t block, int by_memcpy)
{
	static uint64_t v[8192];
	uint64_t n = args.count;
	if (block == 1) {
		for (uint64_t seq = 0; seq < n; seq++) {
			mark(v, words, 0, seq);
			put(r, v, words, by_memcpy);
		}
		return;
	}
	for (uint64_t seq = 0; seq < n; seq += block) {
		uint64_t *first = slot(r, seq);
		await(first, lap(r, seq));
		for (uint64_t i = seq; i < seq + block; i++) {
			mark(v, words, 0, i);
			copy(slot(r, i) + 1, v, words, by_memcpy);
		}
		set(first, lap(r, seq) + 1);
	}
}

INLINE void receive_all(struct ring *r, size_t words, size_t block, int by_memcpy)
{
	static uint64_t v[8192];
	uint64_t n = args.count;
	if (block == 1) {
		for (uint64_t seq = 0; seq < n; seq++) {
			take(r, v, words, by_memcpy);
			check(v, words, seq);
		}
		return;
	}
	for (uint64_t seq = 0; seq < n; seq += block) {
		uint64_t *first = slot(r, seq);
		await(first, lap(r, seq) + 1);
		for (uint64_t i = seq; i < seq + block; i++) {
			copy(v, slot(r, i) + 1, words, by_memcpy);
			check(v, words, i);
		}
		set(first, lap(r, seq) + 2);
	}
}

INLINE void ping(struct ring *there, struct ring *back, size_t words)
{
	static uint64_t v[8192];
	uint64_t left = args.every;
	for (uint64_t seq = 0; seq < args.count; seq++) {
		int64_t began = 0;
		if (--left == 0)
			began = now();
		mark(v, words, 0, seq);
		put(there, v, words, 0);
		take(back, v, words, 0);
		check(v, words, seq);
		if (left == 0) {
			result.lat[result.lats++] = now() - began;
			left = args.every;
		}
	}
}

INLINE void pong(struct ring *there, struct ring *back, size_t words)
{
	static uint64_t v[8192];
	for (uint64_t seq = 0; seq < args.count; seq++) {
		take(there, v, words, 0);
		check(v, words, seq);
		put(back, v, words, 0);
	}
}

/* A burst's values carry in their second word when it began, in the third how many follow. */
static void send_bursts(struct ring *r)
{
	uint64_t v[8] = {0}, seq = 0;
	int64_t next = now();
	for (uint64_t b = 0; b < args.count; b++) {
		int64_t began;
		next += args.gap;
		while ((began = now()) < next)
			;
		if (next < began - (int64_t)args.gap)
			next = began - (int64_t)args.gap;
		for (uint64_t left = args.batch; left-- > 0;) {
			mark(v, 8, 0, seq++);
			v[1] = began;
			v[2] = left;
			put(r, v, 8, 0);
		}
	}
}

static void receive_bursts(struct ring *r)
{
	uint64_t v[8];
	for (uint64_t seq = 0; seq < args.count * args.batch; seq++) {
		take(r, v, 8, 0);
		check(v, 8, seq);
		if (v[2] == 0)
			result.lat[result.lats++] = now() - (int64_t)v[1];
	}
}

/* Everything for one size and mode, so that the compiler knows both. */
INLINE void work(size_t words, size_t block, int by_memcpy)
{
	int sends = is(args.role, "send");
	struct ring there = ring("there");
	result.count = args.count;
	if (is(args.row, "pingpong")) {
		struct ring back = ring("back");
		room_for(args.count / args.every);
		ready_and_go();
		if (sends)
			ping(&there, &back, words);
		else
			pong(&there, &back, words);
	} else if (is(args.row, "bursts")) {
		room_for(args.count);
		ready_and_go();
		if (sends)
			send_bursts(&there);
		else
			receive_bursts(&there);
		result.count = args.count * args.batch;
	} else {
		if (args.count % block)
			die("the count is to be a multiple of %zu", block);
		ready_and_go();
		if (sends)
			send_all(&there, words, block, by_memcpy);
		else
			receive_all(&there, words, block, by_memcpy);
	}
	answer();
}

#define SIZES(block, by_memcpy)                         \
	do {                                            \
		if (args.size == 8)                     \
			work(1, block, by_memcpy);      \
		else if (args.size == 64)               \
			work(8, block, by_memcpy);      \
		else if (args.size == 120)              \
			work(15, block, by_memcpy);     \
		else if (args.size == 1024)             \
			work(128, block, by_memcpy);    \
		else if (args.size == 65528)            \
			work(8191, block, by_memcpy);   \
		else                                    \
			die("no values of %" PRIu64 " bytes", args.size); \
	} while (0)

/* What it takes to copy a buffer that the other process has just written. The time is
 * that of the copies alone, without the two lines that hand the buffer over. */
static void copies(void)
{
	size_t words = args.size / 8;
	uint64_t *word = (uint64_t *)shared("copy", AWAY + args.size);
	uint64_t *there = word + AWAY / 8;
	uint64_t *here = (uint64_t *)calloc(1, args.size);
	int sends = is(args.role, "send");
	result.count = args.count;
	room_for(args.count);
	ready_and_go();
	for (uint64_t seq = 0; seq < args.count; seq++) {
		if (sends) {
			await(word, 2 * seq);
			mark(here, words, 0, seq);
			memcpy(there, here, args.size);
			set(word, 2 * seq + 1);
			continue;
		}
		await(word, 2 * seq + 1);
		int64_t began = now();
		memcpy(here, there, args.size);
		__asm__ volatile("" ::: "memory");
		int64_t took = now() - began;
		check(here, words, seq);
		result.took += took;
		result.lat[result.lats++] = took;
		set(word, 2 * seq + 2);
	}
	answer();
}

/* The yardstick: a word on a line of its own goes there and back, plain loads and stores.
 * Each figure is the mean of 64 rounds. */
static void yardstick(void)
{
	enum { ROUNDS = 64 };
	uint64_t *word = (uint64_t *)shared("line", 4096) + 256;
	int sends = is(args.role, "send");
	room_for(args.count);
	ready_and_go();
	for (uint64_t n = 0; n < args.count; n++) {
		int64_t began = now();
		for (uint64_t seq = n * ROUNDS; seq < (n + 1) * ROUNDS; seq++) {
			if (sends) {
				set(word, 2 * seq + 1);
				await(word, 2 * seq + 2);
			} else {
				await(word, 2 * seq + 1);
				set(word, 2 * seq + 2);
			}
		}
		result.lat[result.lats++] = (now() - began) / ROUNDS;
	}
	answer();
}

static long futex(uint32_t *word, int op, uint32_t value) { return syscall(SYS_futex, word, op, value, 0, 0, 0); }

static void sleep_until(uint32_t *word, uint32_t want)
{
	for (;;) {
		uint32_t is = __atomic_load_n(word, __ATOMIC_ACQUIRE);
		if (is == want)
			return;
		futex(word, FUTEX_WAIT, is);
	}
}

static void wake(uint32_t *word, uint32_t to)
{
	__atomic_store_n(word, to, __ATOMIC_RELEASE);
	futex(word, FUTEX_WAKE, 1);
}

/* The number of the round is all that travels: it is what the other side waits for. */
static void futexes(void)
{
	uint32_t *there = (uint32_t *)shared("futex", 4096), *back = there + AWAY / 4;
	int sends = is(args.role, "send");
	result.count = args.count;
	room_for(args.count / args.every);
	ready_and_go();
	for (uint32_t seq = 1; seq <= args.count; seq++) {
		if (!sends) {
			sleep_until(there, seq);
			wake(back, seq);
			continue;
		}
		int64_t began = now();
		wake(there, seq);
		sleep_until(back, seq);
		if (seq % args.every == 0)
			result.lat[result.lats++] = now() - began;
	}
	answer();
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	if (is(args.row, "line"))
		yardstick();
	else if (is(args.mode, "futex"))
		futexes();
	else if (is(args.mode, "copy"))
		copies();
	else if (is(args.mode, "ring32"))
		SIZES(32, 0);
	else if (is(args.mode, "memcpy"))
		SIZES(1, 1);
	else
		SIZES(1, 0);
	return 0;
}
