/* The figures of the load: counts, latencies, CPU time, and their JSON. */
#include <time.h>
#include <unistd.h>

#include "load.h"

enum { STEPS = 64 };

struct figures figures;

static int measuring;
static unsigned server;
static uint64_t began, load_cpu, server_cpu, longest;
static uint64_t latencies[STEPS * 64];          /* in nanoseconds; of each power of two there are 32 steps */

static uint64_t read_clock(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

uint64_t clock_now(void) { return read_clock(CLOCK_MONOTONIC); }

static uint64_t cpu_of_server(void)
{
    char path[32];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%u/stat", server);
    FILE *file = server ? fopen(path, "r") : NULL;
    if (file) {
        if (fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
            die("cannot read %s", path);
        fclose(file);
    }
    return (user + system) * (1000000000ull / sysconf(_SC_CLK_TCK));
}

void begin_figures(unsigned server_pid)
{
    figures = (struct figures){0};
    server = server_pid;
    measuring = 1;
    began = now;
    load_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    server_cpu = cpu_of_server();
}

void record(struct connection *c, uint64_t since)
{
    if (!measuring)
        return;
    uint64_t latency = now - since;
    unsigned power = latency < STEPS ? 0 : 58 - __builtin_clzll(latency);
    latencies[power * STEPS + (latency >> power)]++;
    longest = latency > longest ? latency : longest;
    figures.messages++;
    c->measured++;
}

/* In microseconds. */
static double percentile(double share)
{
    uint64_t rest = figures.messages * share;
    for (unsigned i = 0; i < sizeof latencies / sizeof *latencies; i++) {
        if (rest < latencies[i])
            return (i % STEPS + 0.5) * (1ull << i / STEPS) / 1e3;
        rest -= latencies[i];
    }
    return 0;
}

void print_figures(const struct connection *connections, unsigned total)
{
    double nanoseconds = now - began, seconds = nanoseconds / 1e9;
    uint64_t fewest = UINT64_MAX, most = 0;
    for (unsigned i = 0; i < total; i++) {
        uint64_t n = connections[i].measured;
        fewest = n < fewest ? n : fewest;
        most = n > most ? n : most;
    }
    printf("{\"seconds\": %.6f, \"messages\": %lu, \"rate\": %.1f, \"bytes_in\": %lu, \"bytes_out\": %lu, "
           "\"fewest\": %lu, \"most\": %lu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, "
           "\"load_cpu\": %.3f, \"server_cpu\": %.3f}\n",
           seconds, figures.messages, figures.messages / seconds, figures.bytes_in, figures.bytes_out,
           fewest, most, percentile(0.5), percentile(0.99), longest / 1e3,
           (read_clock(CLOCK_PROCESS_CPUTIME_ID) - load_cpu) / nanoseconds,
           (cpu_of_server() - server_cpu) / nanoseconds);
}
