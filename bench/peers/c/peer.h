/* What a peer in C or C++ needs of the bench's contract: arguments, ready and go, clocks,
 * the marks in the values, the answer. bench/README.md describes the contract. */
#ifndef PEER_H
#define PEER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct args {
	const char *row, *mode, *role, *wait, *dir, *id;
	uint64_t size, cap, count, every, batch, gap, idle, senders, receivers, index;
};

static struct args args;

static void die(const char *format, ...)
{
	va_list a;
	va_start(a, format);
	vfprintf(stderr, format, a);
	va_end(a);
	fprintf(stderr, "\n");
	exit(1);
}

static inline int is(const char *a, const char *b) { return strcmp(a, b) == 0; }

static void parse(int argc, char **argv)
{
	struct { const char *name; const char **text; uint64_t *number; } known[] = {
		{"-row", &args.row, 0}, {"-mode", &args.mode, 0}, {"-role", &args.role, 0},
		{"-wait", &args.wait, 0}, {"-dir", &args.dir, 0}, {"-id", &args.id, 0},
		{"-size", 0, &args.size}, {"-cap", 0, &args.cap}, {"-count", 0, &args.count},
		{"-every", 0, &args.every}, {"-batch", 0, &args.batch}, {"-gap", 0, &args.gap},
		{"-idle", 0, &args.idle}, {"-senders", 0, &args.senders},
		{"-receivers", 0, &args.receivers}, {"-index", 0, &args.index},
	};
	for (int i = 1; i + 1 < argc; i += 2) {
		size_t k = 0, all = sizeof known / sizeof *known;
		while (k < all && !is(argv[i], known[k].name))
			k++;
		if (k == all)
			die("unknown argument %s", argv[i]);
		if (known[k].text)
			*known[k].text = argv[i + 1];
		else
			*known[k].number = strtoull(argv[i + 1], 0, 10);
	}
	if (args.every == 0)
		args.every = 1;
}

/* The time that all processes share, in nanoseconds. */
static inline int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t cpu_time(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000LL +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000LL;
}

/* The answer. */
static struct {
	int64_t start, end, cpu, took;
	uint64_t count;
	int64_t *lat; /* touched before, so that no page is new while the clock runs */
	size_t lats;
	uint64_t (*got)[2];
	char note[128]; /* what one should know beside the figure */
} result;

static void __attribute__((unused)) room_for(size_t lats)
{
	result.lat = (int64_t *)malloc((lats + 1) * sizeof *result.lat);
	if (!result.lat)
		die("no memory");
	memset(result.lat, 1, (lats + 1) * sizeof *result.lat);
}

static void ready_and_go(void)
{
	char line[16];
	printf("ready\n");
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		die("the runner is gone");
	result.cpu = -cpu_time();
	result.start = now();
}

static void answer(void)
{
	result.end = now();
	result.cpu += cpu_time();
	printf("{\"start\":%" PRId64 ",\"end\":%" PRId64 ",\"cpu\":%" PRId64 ",\"took\":%" PRId64 ",\"count\":%" PRIu64,
	       result.start, result.end, result.cpu, result.took, result.count);
	if (result.lats) {
		printf(",\"lat\":[");
		for (size_t i = 0; i < result.lats; i++)
			printf("%s%" PRId64, i ? "," : "", result.lat[i]);
		printf("]");
	}
	if (result.got) {
		printf(",\"got\":[");
		for (size_t i = 0; i < args.senders; i++)
			printf("%s[%" PRIu64 ",%" PRIu64 "]", i ? "," : "", result.got[i][0], result.got[i][1]);
		printf("]");
	}
	if (result.note[0])
		printf(",\"note\":\"%s\"", result.note);
	printf("}\n");
	fflush(stdout);
}

/* A value that is not the next one fails the whole run. */
static void __attribute__((noinline, noreturn, unused)) wrong(uint64_t first, uint64_t last, uint64_t want)
{
	printf("{\"wrong\":\"value %#" PRIx64 "..%#" PRIx64 " where %#" PRIx64 " was next\"}\n", first, last, want);
	fflush(stdout);
	_exit(1);
}

/* The marks: sender and number in the first word and in the last. */
#define PILL ((UINT64_C(1) << 48) - 1)

static inline void mark(uint64_t *v, size_t words, uint64_t from, uint64_t seq)
{
	v[0] = from << 48 | seq;
	v[words - 1] = v[0];
}

static inline void check(const uint64_t *v, size_t words, uint64_t seq)
{
	if (__builtin_expect(v[0] != seq || v[words - 1] != seq, 0))
		wrong(v[0], v[words - 1], seq);
}

/* Memory that the processes of a measurement share; zero at first. */
static void __attribute__((unused)) *shared(const char *name, size_t bytes)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", args.dir, name);
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, bytes) < 0)
		die("%s: %s", path, strerror(errno));
	void *mem = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (mem == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	close(fd);
	return mem;
}

#endif
