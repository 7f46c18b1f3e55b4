/* What the parts of the load share. */
#ifndef LOAD_H
#define LOAD_H

#include <openssl/ssl.h>
#include <zlib.h>

#include "frame.h"
#include "script.h"

enum { HEADROOM = 2048 };

struct connection {
    unsigned number;
    int fd, open;
    uint32_t watched;                     /* what epoll watches: EPOLLIN, or EPOLLOUT too */
    SSL *ssl;
    const uint8_t *out;                   /* what is being written, `unsent` bytes of the script or of the request */
    size_t unsent;
    unsigned next, expected;              /* places in the script: of the next frame, of the next echo */
    uint64_t sent, received, measured;    /* messages */
    uint64_t *sent_at;                    /* when the messages under way were sent, a ring of `in_flight` */
    uint8_t kept[HEADROOM];               /* a part of a head or of a frame's header, until the rest comes */
    size_t kept_size;
    struct frame frame;                   /* the one whose payload comes, `left` bytes of it */
    int in_frame, compressed, checked;    /* the latter two are of the message that comes */
    uint64_t left, arrived;               /* bytes, of the frame; of the message's payload, inflated */
    z_stream *inflate;
    uint8_t control[MAX_CONTROL], reply[MAX_HEADER + MAX_CONTROL];   /* the payload that comes; a frame to write */
    size_t control_size, reply_size;
};

/* What the load does when a connection is open, when messages have come back, and when the server ends it. */
struct mode {
    const char *name;
    void (*opened)(struct connection *);
    void (*echoed)(struct connection *, unsigned count);
    void (*ended)(struct connection *);
    int queues;                           /* `in_flight` messages; others have one */
    int one_sends;                        /* what all receive */
    int short_lived;                      /* connections come and go */
};

extern struct mode mode;
extern struct script script;
extern enum deflate deflate_mode;
extern unsigned in_flight;
extern int checking;                      /* whether contents are compared, or only lengths */
extern uint64_t now;                      /* in nanoseconds; of the last read */

/* connection.c; the path and TLS are the same for all of them */
void prepare_connections(unsigned port, const char *path, int with_tls);
void open_connection(struct connection *c);
void open_again(struct connection *c);
void send_messages(struct connection *c, unsigned count);
void send_control(struct connection *c, uint8_t opcode, const void *payload, size_t size);
void wake_by(int fd);
int serve_events(void);                   /* waits for events, handles them; 0 once wake_by's descriptor is readable */

/* figures.c */
extern struct figures { uint64_t messages, bytes_in, bytes_out; } figures;
uint64_t clock_now(void);
void begin_figures(unsigned server_pid);
void record(struct connection *c, uint64_t since);
void print_figures(const struct connection *connections, unsigned total);

#endif
