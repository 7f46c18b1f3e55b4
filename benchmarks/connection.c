/* A connection of the load: the opening handshake, frames out of the script, and what comes back. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="           /* and its answer, both from RFC 6455 section 1.3 */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
enum { READ_SIZE = 262144, EVENTS = 512, WAIT = 50, SOURCES = 250 };

static uint8_t memory[HEADROOM + READ_SIZE], *const buffer = memory + HEADROOM;
static char request[1024];
static struct sockaddr_in server = {.sin_family = AF_INET};
static SSL_CTX *tls;
static int poller;

void prepare_connections(unsigned port, const char *path, int with_tls)
{
    static const char *const offers[] = {
        [PLAIN] = "",
        [TAKEOVER] = "Sec-WebSocket-Extensions: permessage-deflate\r\n",
        [NO_TAKEOVER] = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
                        "client_no_context_takeover\r\n",
    };
    int n = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                     path, port, offers[deflate_mode]);
    if (n >= (int)sizeof request)
        die("the path is too long");
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.sin_port = htons(port);
    poller = epoll_create1(0);
    if (with_tls) {
        tls = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
}

/* Writing */

/* The result of SSL_write or SSL_read as send() or recv() would give it. */
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

/* Writes and returns how much the kernel took, if any. */
static size_t put(struct connection *c, const void *p, size_t size)
{
    ssize_t n = c->ssl ? tls_result(c, SSL_write(c->ssl, p, size)) : send(c->fd, p, size, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        die("connection %u: writing failed: %m", c->number);
    figures.bytes_out += n > 0 ? n : 0;
    return n > 0 ? n : 0;
}

static void watch(struct connection *c, uint32_t events)
{
    if (events != c->watched) {
        struct epoll_event event = {.events = events, .data.ptr = c};
        epoll_ctl(poller, c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &event);
        c->watched = events;
    }
}

static void write_out(struct connection *c)
{
    if (c->unsent) {
        size_t n = put(c, c->out, c->unsent);
        c->out += n, c->unsent -= n;
    }
    if (!c->unsent && c->reply_size && put(c, c->reply, c->reply_size))
        c->reply_size = 0;
    watch(c, c->unsent || c->reply_size ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void send_messages(struct connection *c, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        c->sent_at[c->sent++ % in_flight] = now;
    if (!c->unsent)
        c->out = script.frames + script.start[c->next];
    else if (c->out >= script.frames + script.start[script.total])
        c->out -= script.start[script.total] - script.start[script.loop];
    c->unsent += script.start[c->next + count] - script.start[c->next];
    c->next = script_place(&script, c->next + count);
    write_out(c);
}

void send_control(struct connection *c, uint8_t opcode, const void *payload, size_t size)
{
    static const uint8_t key[4];
    size_t header = write_header(c->reply, FIN | opcode, key, size);
    memcpy(c->reply + header, payload, size);
    c->reply_size = header + size;
    write_out(c);
}

/* Opening */

void open_connection(struct connection *c)
{
    static unsigned opened;
    int one = 1;
    /* Source addresses take turns: a port that was used is not free again for a minute. */
    struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + opened++ % SOURCES)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->sent_at[0] = clock_now();
    if (bind(c->fd, (struct sockaddr *)&source, sizeof source)
        || (connect(c->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS))
        die("connection %u: cannot connect: %m", c->number);
    if (tls) {
        c->ssl = SSL_new(tls);
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_connect_state(c->ssl);
    }
    c->out = (uint8_t *)request;
    c->unsent = strlen(request);
    write_out(c);
}

void open_again(struct connection *c)
{
    SSL_free(c->ssl);
    close(c->fd);
    *c = (struct connection){.number = c->number, .sent_at = c->sent_at, .measured = c->measured};
    open_connection(c);
}

static uint8_t *keep(struct connection *c, uint8_t *p, uint8_t *end)
{
    if (end - p > HEADROOM)
        die("connection %u: the head of the response is too long", c->number);
    c->kept_size = end - p;
    memcpy(c->kept, p, c->kept_size);
    return end;
}

/* Returns where the response's head ends; before it is all there, `end`. */
static uint8_t *read_response(struct connection *c, uint8_t *p, uint8_t *end)
{
    uint8_t *stop = memmem(p, end - p, "\r\n\r\n", 4);
    if (!stop)
        return keep(c, p, end);
    *stop = 0;
    const char *head = (char *)p;
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

static void compare(struct connection *c, const uint8_t *p, size_t size)
{
    unsigned i = c->expected % script.count;
    if (c->arrived + size > script.length[i] || (c->checked && memcmp(p, script.plain[i] + c->arrived, size)))
        die("connection %u: message %lu came back changed", c->number, c->received);
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
            die("connection %u: message %lu cannot be inflated", c->number, c->received);
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

static void end_message(struct connection *c)
{
    if (c->compressed && c->checked)
        inflate_and_compare(c, (const uint8_t *)"\0\0\xff\xff", 4);
    if ((!c->compressed || c->checked) && c->arrived != script.length[c->expected % script.count])
        die("connection %u: message %lu came back shortened", c->number, c->received);
    c->expected = script_place(&script, c->expected + 1);
    record(c, c->sent_at[c->received++ % in_flight]);
}

static void begin_frame(struct connection *c)
{
    c->in_frame = 1;
    c->left = c->frame.length;
    c->control_size = 0;
    if (c->frame.masked || (c->frame.opcode >= CLOSE && c->left > MAX_CONTROL))
        die("connection %u: this frame is not valid", c->number);
    if (c->frame.opcode == TEXT || c->frame.opcode == BINARY)
        begin_message(c);
}

static void take_payload(struct connection *c, const uint8_t *p, size_t size)
{
    if (c->frame.opcode >= CLOSE) {
        memcpy(c->control + c->control_size, p, size);
        c->control_size += size;
    } else if (!c->compressed)
        compare(c, p, size);
    else if (c->checked)
        inflate_and_compare(c, p, size);
}

/* Returns how many messages the frame completes. */
static unsigned end_frame(struct connection *c)
{
    c->in_frame = 0;
    if (c->frame.opcode == PING)
        send_control(c, PONG, c->control, c->control_size);
    if (c->frame.opcode == CLOSE && !mode.short_lived)
        die("connection %u: the server closed it with %d", c->number, c->control[0] << 8 | c->control[1]);
    if (c->frame.opcode >= CLOSE || !c->frame.fin)
        return 0;
    end_message(c);
    return 1;
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
    ssize_t n = c->ssl ? tls_result(c, SSL_read(c->ssl, buffer, READ_SIZE)) : recv(c->fd, buffer, READ_SIZE, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0 && errno != ECONNRESET)
        die("connection %u: reading failed: %m", c->number);
    now = clock_now();
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

void wake_by(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

int serve_events(void)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(poller, events, EVENTS, WAIT);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (!c)
            return 0;
        if (c->unsent || c->reply_size)
            write_out(c);
        on_readable(c);
    }
    return 1;
}
