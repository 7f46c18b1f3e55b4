/* Preloaded into a server under valgrind: its clocks go as much slower as it does, so that what depends on time (how long
 * answers are gathered, when the hub gets its turn) goes as it does otherwise. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SLOWER = 100 };

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static struct timespec starts[16];
    struct timespec *start = &starts[clock & 15];
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result || clock < 0 || clock > 15)
        return result;
    if (!start->tv_sec)
        *start = *now;
    long long passed = ((now->tv_sec - start->tv_sec) * 1000000000ll + now->tv_nsec - start->tv_nsec) / SLOWER;
    long long nanoseconds = start->tv_nsec + passed;
    now->tv_sec = start->tv_sec + nanoseconds / 1000000000;
    now->tv_nsec = nanoseconds % 1000000000;
    return 0;
}
