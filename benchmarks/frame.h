/* The header of one frame (RFC 6455 section 5.2) and its mask, for the load generator and for the bare server. */
#ifndef FRAME_H
#define FRAME_H

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTINUATION, TEXT, BINARY, CLOSE = 8, PING, PONG };
enum { FIN = 0x80, RSV1 = 0x40, MASKED = 0x80 };
enum { MAX_HEADER = 14, MAX_CONTROL = 125 };

struct frame {
    uint8_t fin, rsv1, opcode, masked, key[4];
    uint64_t length;
};

/* Returns the length of the header at p, or 0 while there is only a part of it. */
static inline size_t read_header(const uint8_t *p, size_t available, struct frame *frame)
{
    if (available < 2)
        return 0;
    uint8_t length = p[1] & 127;
    size_t extended = length == 126 ? 2 : length == 127 ? 8 : 0;
    size_t size = 2 + extended + (p[1] & MASKED ? 4 : 0);
    if (available < size)
        return 0;
    *frame = (struct frame){.fin = !!(p[0] & FIN), .rsv1 = !!(p[0] & RSV1), .opcode = p[0] & 15,
                            .masked = !!(p[1] & MASKED), .length = length};
    if (extended) {
        uint64_t number = 0;
        memcpy((uint8_t *)&number + 8 - extended, p + 2, extended);
        frame->length = be64toh(number);
    }
    if (frame->masked)
        memcpy(frame->key, p + size - 4, 4);
    return size;
}

/* Writes a header with the masking key, or an unmasked one without, and returns its length. */
static inline size_t write_header(uint8_t *p, uint8_t first, const uint8_t *key, uint64_t length)
{
    size_t extended = length < 126 ? 0 : length < 65536 ? 2 : 8;
    uint64_t number = htobe64(length);
    p[0] = first;
    p[1] = (key ? MASKED : 0) | (extended == 0 ? length : extended == 2 ? 126 : 127);
    memcpy(p + 2, (uint8_t *)&number + 8 - extended, extended);
    if (key)
        memcpy(p + 2 + extended, key, 4);
    return 2 + extended + (key ? 4 : 0);
}

static inline void apply_mask(uint8_t *payload, size_t size, const uint8_t key[4])
{
    uint64_t wide, word;
    memcpy(&wide, key, 4);
    memcpy((uint8_t *)&wide + 4, key, 4);
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, payload + i, 8);
        word ^= wide;
        memcpy(payload + i, &word, 8);
    }
    for (; i < size; i++)
        payload[i] ^= key[i & 3];
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline void *allocate(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    if (!memory)
        die("out of memory");
    return memory;
}

#endif
