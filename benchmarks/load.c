/* The load: one thread on epoll that costs less per message than any server, so that it never is the bottleneck.
 *
 * load MODE PORT [name=value ...]       prints one JSON object
 *
 *   echo        each connection keeps `in_flight` messages under way
 *   broadcast   the first connection sends a message when the one before has reached every connection
 *   handshake   connections open, `connections` at a time, and close TCP once the response's head is there
 *   session     the same, with a closing handshake
 *   idle        each connection has one message echoed, then all are held until the standard input ends
 *
 * Frames are made before the clock runs, each with a masking key of its own. During the warm-up the content of every
 * message that comes back is compared with what was sent, byte by byte; later its length is (not that of a compressed one).
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "frame.h"
#include "script.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="           /* and its answer, both from RFC 6455 section 1.3 */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
enum { READ_SIZE = 262144, HEADROOM = 2048, OPENING_LIMIT = 60 };

static struct {
    const char *path, *messages, *deflate;
    double connections, size, text, in_flight, at_once, count, seconds, warmup, tls, pid;
} options = {
    .path = "/",         /* of the request */
    .connections = 10,
    .size = 32,          /* of a message's random payload, in bytes */
    .text = 0,           /* 1: printable text instead of binary */
    .messages = NULL,    /* a file with a text message on each line, instead of random ones */
    .deflate = NULL,     /* takeover or no_takeover: permessage-deflate with or without context takeover */
    .in_flight = 1,
    .at_once = 50,       /* how many opening handshakes are under way at once */
    .count = 0,          /* stop after so many messages of each connection, without a warm-up, instead of: */
    .seconds = 2,
    .warmup = 0.5,
    .tls = 0,
    .pid = 0,            /* the server's process, whose CPU time is read */
};

static const struct { const char *name; const char **text; double *number; } option_names[] = {
    {"path", &options.path, 0}, {"messages", &options.messages, 0}, {"deflate", &options.deflate, 0},
    {"connections", 0, &options.connections}, {"size", 0, &options.size}, {"text", 0, &options.text},
    {"in_flight", 0, &options.in_flight}, {"at_once", 0, &options.at_once}, {"count", 0, &options.count},
    {"seconds", 0, &options.seconds}, {"warmup", 0, &options.warmup}, {"tls", 0, &options.tls}, {"pid", 0, &options.pid},
};

struct connection {
    int fd, open;
    uint32_t watched;                     /* what epoll watches, EPOLLIN or also EPOLLOUT */
    SSL *ssl;
    const uint8_t *out;                   /* what is being written, `unsent` bytes of the script or the request */
    size_t unsent;
    unsigned next, expected;              /* places in the script: of the next frame, of the next echo */
    uint64_t sent, received, measured;    /* messages */
    uint64_t *sent_at;                    /* when the messages under way were sent, a ring of `in_flight` */
    uint8_t kept[HEADROOM];               /* a part of a head or of a frame's header, until the rest comes */
    size_t kept_size;
    struct frame frame;                   /* the one whose payload comes, `left` bytes of it */
    int in_frame, compressed, checked;    /* the latter two of the message that comes */
    uint64_t left, arrived;               /* of the frame; of the message's (inflated) payload, in bytes */
    z_stream *inflate;
    uint8_t pong[MAX_HEADER + MAX_CONTROL], ping[MAX_CONTROL];
    size_t pong_size, ping_size;
};

static struct mode {
    const char *name;
    void (*opened)(struct connection *);
    void (*echoed)(struct connection *, unsigned count);
    void (*ended)(struct connection *);
    int one_sends, short_lived;
} mode;

static enum { OPENING, WARMUP, MEASURING, HOLDING } phase;

static struct {
    uint64_t messages, bytes_in, bytes_out, latency_max;
    uint64_t latencies[64 * 64];          /* 64 steps for each power of two, in nanoseconds */
    uint64_t began, ended, load_cpu, server_cpu;
} figures;

static struct script script;
static enum deflate deflate_mode;
static struct connection *connections;
static uint8_t memory[HEADROOM + READ_SIZE], *const buffer = memory + HEADROOM;
static char request[1024];
static int poller, checking = 1, finished;
static unsigned port, total, in_flight, opening, opened, arrivals;     /* total: of the connections */
static uint64_t now, phase_ends;
static SSL_CTX *tls;

static void server_left(struct connection *c);

static uint64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Writing */

static void watch(struct connection *c, uint32_t events)
{
    if (events != c->watched) {
        struct epoll_event event = {.events = events, .data.ptr = c};
        epoll_ctl(poller, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event);
        c->watched = events;
    }
}

/* send() and recv(), under TLS too: -1 with EAGAIN where the kernel or the TLS handshake has to go on first. */
static ssize_t tls_result(struct connection *c, int n)
{
    if (n > 0)
        return n;
    int error = SSL_get_error(c->ssl, n);
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : errno ? errno : EPROTO;
    return -1;
}

static ssize_t put(struct connection *c, const void *p, size_t size)
{
    return c->ssl ? tls_result(c, SSL_write(c->ssl, p, size)) : send(c->fd, p, size, MSG_NOSIGNAL);
}

static ssize_t get(struct connection *c, void *p, size_t size)
{
    return c->ssl ? tls_result(c, SSL_read(c->ssl, p, size)) : recv(c->fd, p, size, 0);
}

static void write_out(struct connection *c)
{
    ssize_t n = 0;
    if (c->unsent)
        n = put(c, c->out, c->unsent);
    if (n > 0)
        c->out += n, c->unsent -= n, figures.bytes_out += n;
    if (n >= 0 && !c->unsent && c->pong_size) {
        n = put(c, c->pong, c->pong_size);
        if (n > 0)
            c->pong_size = 0;
    }
    if (n < 0 && errno != EAGAIN)
        die("writing to the server failed: %m");
    watch(c, c->unsent || c->pong_size ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void send_messages(struct connection *c, unsigned count)
{
    if (options.count && c->sent + count > options.count)
        count = options.count - c->sent;
    for (unsigned i = 0; i < count; i++)
        c->sent_at[c->sent++ % in_flight] = now;
    size_t period = script.start[script.total] - script.start[script.loop];
    if (!c->unsent)
        c->out = script.frames + script.start[c->next];
    else if (c->out >= script.frames + script.start[script.total])
        c->out -= period;
    c->unsent += script.start[c->next + count] - script.start[c->next];
    c->next = script_place(&script, c->next + count);
    write_out(c);
}

/* Opening and closing */

static void write_request(void)
{
    static const char *const offers[] = {
        [PLAIN] = "",
        [TAKEOVER] = "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        [NO_TAKEOVER] = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
                        "client_no_context_takeover\r\n",
    };
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                     options.path, port, offers[deflate_mode]);
    if (n >= (int)sizeof request)
        die("the path is too long");
}

static void open_connection(struct connection *c)
{
    static unsigned number;
    int one = 1;
    /* Source addresses take turns: a port that was used is not free again for a minute. */
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + number++ % 250)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->sent_at[0] = clock_now();
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from)
        || (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS))
        die("cannot connect: %m");
    if (tls) {
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_connect_state(c->ssl);
    }
    c->out = (uint8_t *)request;
    c->unsent = strlen(request);
    write_out(c);
}

static void open_next(void)
{
    if (opening < total)
        open_connection(&connections[opening++]);
}

static void open_again(struct connection *c)
{
    SSL_free(c->ssl);
    close(c->fd);
    *c = (struct connection){.sent_at = c->sent_at, .measured = c->measured};
    open_connection(c);
}

static uint8_t *keep(struct connection *c, uint8_t *p, uint8_t *end)
{
    if (end - p > HEADROOM)
        die("the head of the response is too long");
    c->kept_size = end - p;
    memcpy(c->kept, p, c->kept_size);
    return end;
}

/* Returns where the response's head ends, or `end` while it does not. */
static uint8_t *read_response(struct connection *c, uint8_t *p, uint8_t *end)
{
    uint8_t *stop = memmem(p, end - p, "\r\n\r\n", 4);
    if (!stop)
        return keep(c, p, end);
    *stop = 0;
    char *head = (char *)p;
    if (strncmp(head, "HTTP/1.1 101 ", 13) || !strstr(head, ACCEPT))
        die("the opening handshake failed: %s", head);
    int deflates = strcasestr(head, "permessage-deflate") != NULL;
    if (deflates != !!deflate_mode || (deflate_mode == TAKEOVER && strcasestr(head, "no_context_takeover")))
        die("the extension was not negotiated as offered: %s", head);
    c->open = 1;
    mode.opened(c);
    return stop + 4;
}

/* Reading */

static void record(struct connection *c, uint64_t since)
{
    if (phase != MEASURING)
        return;
    uint64_t latency = now - since;
    unsigned power = latency < 64 ? 0 : 58 - __builtin_clzll(latency);
    figures.latencies[power * 64 + (latency >> power)]++;
    if (latency > figures.latency_max)
        figures.latency_max = latency;
    figures.messages++;
    c->measured++;
}

static void compare(struct connection *c, const uint8_t *p, size_t size)
{
    unsigned i = c->expected % script.count;
    if (c->arrived + size > script.length[i] || (c->checked && memcmp(p, script.plain[i] + c->arrived, size)))
        die("connection %zu: message %lu came back changed", c - connections, c->received);
    c->arrived += size;
}

static void inflate_and_compare(struct connection *c, const uint8_t *p, size_t size)
{
    static uint8_t inflated[65536];
    z_stream *z = c->inflate;
    z->next_in = (uint8_t *)p, z->avail_in = size;
    do {
        z->next_out = inflated, z->avail_out = sizeof inflated;
        int result = inflate(z, Z_SYNC_FLUSH);
        if (result != Z_OK && result != Z_BUF_ERROR)
            die("connection %zu: message %lu cannot be inflated", c - connections, c->received);
        compare(c, inflated, sizeof inflated - z->avail_out);
    } while (!z->avail_out);
}

static void begin_message(struct connection *c)
{
    c->arrived = 0;
    c->compressed = c->frame.rsv1;
    c->checked = checking;
    if (c->compressed && c->checked && !c->inflate) {
        c->inflate = allocate(sizeof *c->inflate);
        inflateInit2(c->inflate, -MAX_WBITS);
    }
}

static void take_payload(struct connection *c, const uint8_t *p, size_t size)
{
    if (c->frame.opcode >= CLOSE) {
        if (c->ping_size + size <= MAX_CONTROL)
            memcpy(c->ping + c->ping_size, p, size), c->ping_size += size;
    } else if (!c->compressed)
        compare(c, p, size);
    else if (c->checked)
        inflate_and_compare(c, p, size);
}

static void answer_ping(struct connection *c)
{
    static const uint8_t key[4];
    size_t header = write_header(c->pong, FIN | PONG, key, c->ping_size);
    memcpy(c->pong + header, c->ping, c->ping_size);
    c->pong_size = header + c->ping_size;
    write_out(c);
}

static void end_message(struct connection *c)
{
    if (c->compressed && c->checked)
        inflate_and_compare(c, (const uint8_t *)"\0\0\xff\xff", 4);
    if ((!c->compressed || c->checked) && c->arrived != script.length[c->expected % script.count])
        die("connection %zu: message %lu came back shortened", c - connections, c->received);
    c->expected = script_place(&script, c->expected + 1);
    record(c, c->sent_at[c->received++ % in_flight]);
}

/* Returns how many messages the frame completes. */
static unsigned end_frame(struct connection *c)
{
    c->in_frame = 0;
    if (c->frame.opcode == PING)
        answer_ping(c);
    if (c->frame.opcode == CLOSE && mode.ended == server_left)
        die("the server closed connection %zu with %d", c - connections, c->ping[0] << 8 | c->ping[1]);
    if (c->frame.opcode >= CLOSE || !c->frame.fin)
        return 0;
    end_message(c);
    return 1;
}

static void begin_frame(struct connection *c)
{
    c->in_frame = 1;
    c->left = c->frame.length;
    c->ping_size = 0;
    if (c->frame.masked)
        die("the server masks its frames");
    if (c->frame.opcode == TEXT || c->frame.opcode == BINARY)
        begin_message(c);
}

static void read_frames(struct connection *c, uint8_t *p, uint8_t *end)
{
    unsigned messages = 0;
    for (;;) {
        if (!c->in_frame) {
            size_t header = read_header(p, end - p, &c->frame);
            if (!header)
                break;
            p += header;
            begin_frame(c);
        }
        size_t size = c->left < (size_t)(end - p) ? c->left : (size_t)(end - p);
        take_payload(c, p, size);
        p += size;
        c->left -= size;
        if (c->left)
            break;
        messages += end_frame(c);
    }
    keep(c, p, end);
    if (messages)
        mode.echoed(c, messages);
}

static void on_readable(struct connection *c)
{
    ssize_t n = get(c, buffer, READ_SIZE);
    if (n < 0 && errno == EAGAIN)
        return;
    now = clock_now();
    if (n < 0 && errno != ECONNRESET)
        die("reading from the server failed: %m");
    if (n <= 0) {
        mode.ended(c);
        return;
    }
    figures.bytes_in += n;
    uint8_t *p = buffer - c->kept_size, *end = buffer + n;
    memcpy(p, c->kept, c->kept_size);
    c->kept_size = 0;
    if (!c->open)
        p = read_response(c, p, end);
    if (c->open)
        read_frames(c, p, end);
}

/* Measuring */

static uint64_t cpu_of_load(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint64_t cpu_of_server(void)
{
    char path[32];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%.0f/stat", options.pid);
    FILE *file = options.pid ? fopen(path, "r") : NULL;
    if (file) {
        if (fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
            die("cannot read %s", path);
        fclose(file);
    }
    return (user + system) * (1000000000ull / sysconf(_SC_CLK_TCK));
}

static void begin_measuring(void)
{
    memset(&figures, 0, sizeof figures);
    for (unsigned i = 0; i < total; i++)
        connections[i].measured = 0;
    phase = MEASURING;
    checking = options.count > 0;
    figures.began = now;
    figures.load_cpu = cpu_of_load();
    figures.server_cpu = cpu_of_server();
    phase_ends = options.count ? UINT64_MAX : now + options.seconds * 1e9;
}

static void begin_warmup(void)
{
    phase = WARMUP;
    now = clock_now();
    phase_ends = now + options.warmup * 1e9;
    if (options.count)
        begin_measuring();
}

static double percentile(double share)
{
    uint64_t rest = figures.messages * share;
    for (unsigned i = 0; i < 64 * 64; i++) {
        if (rest < figures.latencies[i])
            return (i % 64 * 1.0 + 0.5) * (1ull << i / 64) / 1e3;
        rest -= figures.latencies[i];
    }
    return 0;
}

static void print_figures(void)
{
    double seconds = (now - figures.began) / 1e9;
    uint64_t fewest = UINT64_MAX, most = 0;
    for (unsigned i = 0; i < total; i++) {
        uint64_t n = connections[i].measured;
        fewest = n < fewest ? n : fewest;
        most = n > most ? n : most;
    }
    printf("{\"mode\": \"%s\", \"seconds\": %.6f, \"messages\": %lu, \"rate\": %.1f, \"bytes_in\": %lu, \"bytes_out\": %lu, "
           "\"fewest\": %lu, \"most\": %lu, \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, "
           "\"load_cpu\": %.3f, \"server_cpu\": %.3f}\n",
           mode.name, seconds, figures.messages, figures.messages / seconds, figures.bytes_in, figures.bytes_out,
           fewest, most, percentile(0.5), percentile(0.99), figures.latency_max / 1e3,
           (cpu_of_load() - figures.load_cpu) / 1e9 / seconds, (cpu_of_server() - figures.server_cpu) / 1e9 / seconds);
}

/* Modes */

static void begin_when_all_are_open(struct connection *c)
{
    (void)c;
    open_next();
    if (++opened < total)
        return;
    begin_warmup();
    for (unsigned i = 0; i < (mode.one_sends ? 1 : total); i++)
        send_messages(&connections[i], in_flight);
}

static void send_more(struct connection *c, unsigned count)
{
    if (options.count && figures.messages == options.count * total)
        finished = 1;
    else
        send_messages(c, count);
}

static void broadcast_more(struct connection *c, unsigned count)
{
    (void)c;
    arrivals += count;
    if (arrivals == total) {
        arrivals = 0;
        send_messages(&connections[0], 1);
    }
}

static void hold(struct connection *c, unsigned count)
{
    (void)c;
    arrivals += count;
    if (arrivals < total)
        return;
    puts("held");
    fflush(stdout);
    phase = HOLDING;
    phase_ends = UINT64_MAX;
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &event);
}

static void server_left(struct connection *c)
{
    die("the server closed connection %zu", c - connections);
}

static void count_opening(struct connection *c)
{
    now = clock_now();
    record(c, c->sent_at[0]);
    open_again(c);
}

static void say_goodbye(struct connection *c)
{
    static const uint8_t key[4];
    c->pong_size = write_header(c->pong, FIN | CLOSE, key, 2);
    c->pong[c->pong_size++] = 1000 >> 8;
    c->pong[c->pong_size++] = 1000 & 255;
    write_out(c);
}

static const struct mode modes[] = {
    {"echo", begin_when_all_are_open, send_more, server_left, .one_sends = 0},
    {"broadcast", begin_when_all_are_open, broadcast_more, server_left, .one_sends = 1},
    {"idle", begin_when_all_are_open, hold, server_left, .one_sends = 0},
    {"handshake", count_opening, NULL, server_left, .short_lived = 1},
    {"session", say_goodbye, NULL, count_opening, .short_lived = 1},
};

static void read_option(const char *argument)
{
    size_t length = strcspn(argument, "=");
    for (size_t i = 0; i < sizeof option_names / sizeof *option_names; i++) {
        const char *name = option_names[i].name, *value = argument + length + 1;
        if (strlen(name) != length || strncmp(argument, name, length) || !argument[length])
            continue;
        if (option_names[i].text)
            *option_names[i].text = value;
        else
            *option_names[i].number = atof(value);
        return;
    }
    die("no option is called %s", argument);
}

static void read_arguments(int argc, char **argv)
{
    if (argc < 3)
        die("load MODE PORT [name=value ...]");
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(modes[i].name, argv[1]))
            mode = modes[i];
    if (!mode.name)
        die("no mode is called %s", argv[1]);
    port = atoi(argv[2]);
    for (int i = 3; i < argc; i++)
        read_option(argv[i]);
    if (options.deflate)
        deflate_mode = strcmp(options.deflate, "takeover") ? NO_TAKEOVER : TAKEOVER;
    total = options.connections;
    in_flight = mode.one_sends || mode.ended != server_left || mode.echoed == hold ? 1 : options.in_flight;
}

static void prepare(void)
{
    poller = epoll_create1(0);
    script = write_script(options.messages, options.size, options.text || options.messages, deflate_mode, in_flight);
    if (options.tls) {
        tls = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    write_request();
    connections = allocate(total * sizeof *connections);
    uint64_t *rings = allocate(total * in_flight * sizeof *rings);
    for (unsigned i = 0; i < total; i++) {
        struct connection *c = &connections[i];
        c->sent_at = rings + (mode.one_sends ? 0 : i * in_flight);
        c->next = c->expected = mode.one_sends || script.loop ? 0 : i % script.count;
    }
}

static void next_phase(void)
{
    if (phase == OPENING)
        die("%u of %u connections were opened in %d seconds", opened, total, OPENING_LIMIT);
    else if (phase == WARMUP)
        begin_measuring();
    else
        finished = 1;
}

int main(int argc, char **argv)
{
    struct epoll_event events[512];
    read_arguments(argc, argv);
    prepare();
    phase_ends = clock_now() + OPENING_LIMIT * 1000000000ull;
    for (unsigned i = 0; i < (mode.short_lived ? total : options.at_once); i++)
        open_next();
    if (mode.short_lived)
        begin_warmup();
    while (!finished) {
        int n = epoll_wait(poller, events, 512, 50);
        for (int i = 0; i < n && !finished; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) {
                finished = 1;
                break;
            }
            if (c->unsent || c->pong_size)
                write_out(c);
            on_readable(c);
        }
        now = clock_now();
        if (now >= phase_ends)
            next_phase();
    }
    if (phase == MEASURING)
        print_figures();
}
