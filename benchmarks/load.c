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
 * message that comes back is compared with what was sent, byte by byte; later its length is, if it is not compressed.
 */
#include <unistd.h>

#include "load.h"

enum { OPENING_LIMIT = 60 };

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
    .count = 0,          /* stop after so many messages (or handshakes) of each connection, without a warm-up, instead of: */
    .seconds = 2,
    .warmup = 0.5,
    .tls = 0,
    .pid = 0,            /* the server's process, whose CPU time is read */
};

static const struct { const char *name; const char **text; double *number; } option_names[] = {
    {"path", &options.path, 0}, {"messages", &options.messages, 0}, {"deflate", &options.deflate, 0},
    {"connections", 0, &options.connections}, {"size", 0, &options.size}, {"text", 0, &options.text},
    {"in_flight", 0, &options.in_flight}, {"at_once", 0, &options.at_once}, {"count", 0, &options.count},
    {"seconds", 0, &options.seconds}, {"warmup", 0, &options.warmup}, {"tls", 0, &options.tls},
    {"pid", 0, &options.pid},
};

struct mode mode;
struct script script;
enum deflate deflate_mode;
unsigned in_flight;
int checking = 1;
uint64_t now;

static enum { OPENING, WARMUP, MEASURING, HOLDING } phase;
static uint64_t phase_ends;
static struct connection *connections;
static unsigned total, opening, opened, arrivals;     /* all connections; begun; open; having an answer */

static void begin_measuring(void)
{
    begin_figures(options.pid);
    for (unsigned i = 0; i < total; i++)
        connections[i].measured = 0;
    phase = MEASURING;
    checking = options.count > 0;
    phase_ends = options.count ? UINT64_MAX : now + options.seconds * 1e9;
}

static void begin_warmup(void)
{
    now = clock_now();
    phase = WARMUP;
    phase_ends = now + options.warmup * 1e9;
    if (options.count)
        begin_measuring();
}

static void open_next(void)
{
    if (opening < total)
        open_connection(&connections[opening++]);
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
    uint64_t left = options.count ? options.count - c->sent : UINT64_MAX;
    send_messages(c, count < left ? count : left);
    if (options.count && figures.messages == options.count * total)
        phase_ends = now;
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
    wake_by(STDIN_FILENO);
}

static void fail(struct connection *c)
{
    die("connection %u: the server ended it", c->number);
}

static void say_goodbye(struct connection *c)
{
    send_control(c, CLOSE, "\x03\xe8", 2);
}

static void count_opening(struct connection *c)
{
    now = clock_now();
    record(c, c->sent_at[0]);
    if (options.count && figures.messages == options.count * total)
        phase_ends = now;
    else
        open_again(c);
}

static const struct mode modes[] = {
    {"echo", begin_when_all_are_open, send_more, fail, .queues = 1},
    {"broadcast", begin_when_all_are_open, broadcast_more, fail, .one_sends = 1},
    {"idle", begin_when_all_are_open, hold, fail, .queues = 0},
    {"handshake", count_opening, NULL, fail, .short_lived = 1},
    {"session", say_goodbye, NULL, count_opening, .short_lived = 1},
};

/* Arguments */

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
    for (int i = 3; i < argc; i++)
        read_option(argv[i]);
    if (options.deflate)
        deflate_mode = strcmp(options.deflate, "takeover") ? NO_TAKEOVER : TAKEOVER;
    in_flight = mode.queues ? options.in_flight : 1;
    total = options.connections;
    if (!total || !in_flight || (options.count && options.count < in_flight))
        die("there would be nothing to do");
}

static void make_connections(void)
{
    connections = allocate(total * sizeof *connections);
    uint64_t *rings = allocate((size_t)total * in_flight * sizeof *rings);
    for (unsigned i = 0; i < total; i++) {
        struct connection *c = &connections[i];
        c->number = i;
        c->sent_at = rings + (mode.one_sends ? 0 : i * in_flight);
        c->next = c->expected = mode.one_sends || script.loop ? 0 : i % script.count;
    }
}

static void end_phase(void)
{
    if (phase == OPENING)
        die("%u of %u connections were opened in %d seconds", opened, total, OPENING_LIMIT);
    if (phase == WARMUP) {
        begin_measuring();
    } else {
        print_figures(connections, total);
        exit(0);
    }
}

int main(int argc, char **argv)
{
    read_arguments(argc, argv);
    script = write_script(options.messages, options.size, options.text || options.messages, deflate_mode, in_flight);
    prepare_connections(atoi(argv[2]), options.path, options.tls);
    make_connections();
    phase_ends = clock_now() + OPENING_LIMIT * 1000000000ull;
    for (unsigned i = 0; i < (mode.short_lived ? total : options.at_once); i++)
        open_next();
    if (mode.short_lived)
        begin_warmup();
    while (serve_events()) {
        now = clock_now();
        if (now >= phase_ends)
            end_phase();
    }
}
