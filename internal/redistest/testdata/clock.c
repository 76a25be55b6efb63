/* Preloaded into redis-server, it sets the wall clock off by what the file $REDISTEST_CLOCK holds: microseconds, 64 bits, which
 * may change at any time. Clocks that only measure are left alone. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const long long *offset; /* NULL in constructors that run before ours */

__attribute__((constructor)) static void begin(void)
{
	int fd = open(getenv("REDISTEST_CLOCK"), O_RDONLY);
	const void *file = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);

	if (file == MAP_FAILED) {
		perror("mapping $REDISTEST_CLOCK");
		_exit(1);
	}
	close(fd);
	offset = file;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
	int failed = (int)syscall(SYS_clock_gettime, id, now);
	long long micros;

	if (failed || !offset || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
		return failed;
	micros = now->tv_sec * 1000000LL + now->tv_nsec / 1000 + __atomic_load_n(offset, __ATOMIC_RELAXED);
	now->tv_nsec = micros % 1000000 * 1000 + now->tv_nsec % 1000;
	now->tv_sec = micros / 1000000;
	return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec ts;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &ts))
		return -1;
	now->tv_sec = ts.tv_sec;
	now->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *now)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_REALTIME, &ts))
		return -1;
	if (now)
		*now = ts.tv_sec;
	return ts.tv_sec;
}
