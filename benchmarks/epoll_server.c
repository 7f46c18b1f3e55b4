/* A bare echo server on epoll: the least that the kernel and the protocol ask for, and so the floor of the figures.
 *
 * It listens on a free port of 127.0.0.1 and prints the port. The path of a request says what follows:
 *   /                   each message is echoed, unmasked
 *   /flood/KIND/SIZE    messages of SIZE bytes are sent without end; KIND is text or binary
 *   /sink               messages are thrown away; only those up to 8 bytes are echoed
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frame.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
enum { READ_SIZE = 262144, FLOOD_BATCH = 65536, SINK_ECHO = 8 };

struct connection {
    int fd;
    int open, sink, waits_to_write;
    uint8_t *buffer;            /* replies up to `replied`; then what was received and not used, [begin, end) */
    size_t sent, replied, begin, end, capacity;
    uint8_t *flood;             /* frames to be sent again and again; replies of such a connection are not sent */
    size_t flood_size;
};

static int poller;
static uint8_t *spare;          /* the buffer that a connection uses unless it keeps a part of a frame */

static uint32_t rotate(uint32_t x, int by) { return x << by | x >> (32 - by); }

/* One 64-byte block of SHA-1 (RFC 3174). */
static void sha1_block(uint32_t state[5], const uint8_t block[64])
{
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++) {
        memcpy(&w[i], block + 4 * i, 4);
        w[i] = be32toh(w[i]);
    }
    for (int i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20 ? ((b & c) | (~b & d)) + 0x5A827999
                   : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                   : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                            : (b ^ c ^ d) + 0xCA62C1D6;
        uint32_t next = rotate(a, 5) + f + e + w[i];
        e = d, d = c, c = rotate(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

/* Sec-WebSocket-Accept of a 24-character key (RFC 6455 section 4.2.2): 60 bytes are two blocks of SHA-1. */
static void accept_value(const char *key, char value[29])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t blocks[128] = {0}, digest[21] = {0};
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    memcpy(blocks, key, 24);
    memcpy(blocks + 24, GUID, 36);
    blocks[60] = 0x80;
    blocks[126] = 60 * 8 >> 8, blocks[127] = 60 * 8 & 255;
    sha1_block(state, blocks);
    sha1_block(state, blocks + 64);
    for (int i = 0; i < 5; i++) {
        uint32_t word = htobe32(state[i]);
        memcpy(digest + 4 * i, &word, 4);
    }
    for (int i = 0; i < 7; i++) {
        uint32_t three = digest[3 * i] << 16 | digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++)
            value[4 * i + j] = digits[three >> (18 - 6 * j) & 63];
    }
    value[27] = '=', value[28] = 0;
}

static void end(struct connection *c)
{
    close(c->fd);
    free(c->buffer);
    free(c->flood);
    free(c);
}

static void make_flood(struct connection *c, uint8_t opcode, size_t size)
{
    size_t count = 1 + FLOOD_BATCH / (size + 4);
    c->flood = allocate(count * (size + MAX_HEADER));
    for (; count; count--) {
        c->flood_size += write_header(c->flood + c->flood_size, FIN | opcode, NULL, size);
        memset(c->flood + c->flood_size, 'a' + count % 26, size);
        c->flood_size += size;
    }
}

/* Writes what the kernel takes at once; 0 if the connection is broken. */
static int write_out(struct connection *c)
{
    const uint8_t *from = c->flood ? c->flood : c->buffer;
    size_t size = c->flood ? c->flood_size : c->replied;
    if (size) {
        ssize_t n = send(c->fd, from + c->sent, size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return 0;
        c->sent += n < 0 ? 0 : n;
    }
    int waits = c->sent < size || c->flood;
    if (c->sent == size)
        c->sent = c->replied = 0;
    if (waits != c->waits_to_write) {
        c->waits_to_write = waits;
        struct epoll_event event = {.events = waits ? EPOLLOUT : EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
    }
    return 1;
}

/* Answers the request once all of it is there; 0 if it is none. */
static int open_up(struct connection *c)
{
    char *request = (char *)c->buffer, accept[29], kind[8];
    size_t size;
    char *stop = memmem(request, c->end, "\r\n\r\n", 4);
    if (!stop)
        return 1;
    *stop = 0;
    char *key = strcasestr(request, "\r\nSec-WebSocket-Key:");
    if (!key)
        return 0;
    for (key += 20; *key == ' '; key++)
        ;
    if (strlen(key) < 24)
        return 0;
    accept_value(key, accept);
    c->sink = !strncmp(request, "GET /sink ", 10);
    int floods = sscanf(request, "GET /flood/%7[a-z]/%zu ", kind, &size) == 2;
    c->begin = stop + 4 - request;
    char response[200];
    int length = sprintf(response, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                   "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    if (send(c->fd, response, length, MSG_NOSIGNAL) != length)
        return 0;
    if (floods)
        make_flood(c, kind[0] == 't' ? TEXT : BINARY, size);
    return c->open = 1;
}

/* Turns each whole frame into its reply, in place: a reply's header is never longer. 0 after a close frame. */
static int answer_frames(struct connection *c)
{
    struct frame frame;
    size_t header;
    while ((header = read_header(c->buffer + c->begin, c->end - c->begin, &frame))) {
        uint8_t *payload = c->buffer + c->begin + header;
        if (c->end - c->begin - header < frame.length) {
            if (c->capacity < header + frame.length) {
                c->capacity = header + frame.length;
                c->buffer = realloc(c->buffer, c->capacity + READ_SIZE);
            }
            break;
        }
        c->begin += header + frame.length;
        if (!frame.masked || frame.opcode == PONG)
            continue;
        apply_mask(payload, frame.length, frame.key);
        if (c->sink && frame.length > SINK_ECHO)
            continue;
        uint8_t first = (frame.fin ? FIN : 0) | (frame.opcode == PING ? PONG : frame.opcode);
        c->replied += write_header(c->buffer + c->replied, first, NULL, frame.length);
        memmove(c->buffer + c->replied, payload, frame.length);
        c->replied += frame.length;
        if (frame.opcode == CLOSE)
            return 0;
    }
    return 1;
}

static void compact(struct connection *c)
{
    memmove(c->buffer, c->buffer + c->begin, c->end - c->begin);
    c->end -= c->begin;
    c->begin = 0;
}

static void borrow_buffer(struct connection *c)
{
    c->buffer = spare ? spare : allocate(READ_SIZE);
    spare = NULL;
}

static void give_buffer_back(struct connection *c)
{
    if (spare || c->begin < c->end || c->waits_to_write || c->capacity)
        return;
    spare = c->buffer;
    c->buffer = NULL;
    c->begin = c->end = 0;
}

static void on_readable(struct connection *c)
{
    if (!c->buffer)
        borrow_buffer(c);
    if (c->begin)
        compact(c);
    ssize_t n = recv(c->fd, c->buffer + c->end, c->capacity + READ_SIZE - c->end, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    c->end += n > 0 ? n : 0;
    int goes_on = n > 0 && (c->open || open_up(c));
    if (goes_on && c->open) {
        goes_on = answer_frames(c);
        goes_on = write_out(c) && goes_on;
    }
    if (goes_on)
        give_buffer_back(c);
    else
        end(c);
}

static void on_connection(int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *c = allocate(sizeof *c);
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_and_tell(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 1024))
        die("cannot listen: %m");
    getsockname(fd, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(void)
{
    poller = epoll_create1(0);
    int listener = listen_and_tell();
    struct epoll_event event = {.events = EPOLLIN}, events[512];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(poller, events, 512, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c)
                on_connection(listener);
            else if (!c->waits_to_write)
                on_readable(c);
            else if (!write_out(c))
                end(c);
        }
    }
}
