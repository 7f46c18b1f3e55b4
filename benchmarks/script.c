#define _GNU_SOURCE
#include "script.h"

#include <zlib.h>

#include "frame.h"

enum { RANDOM_SIZE = 262144, LEAST_TAKEOVER = 65536 };

static uint64_t random_bits(void)
{
    static uint64_t state = 0x9E3779B97F4A7C15;
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

static size_t make_messages(struct script *script, size_t size, int text)
{
    size_t count = size < RANDOM_SIZE / 64 ? 64 : 4 + RANDOM_SIZE / size;
    script->plain = allocate(count * sizeof *script->plain);
    script->length = allocate(count * sizeof *script->length);
    for (size_t i = 0; i < count; i++) {
        script->plain[i] = allocate(size);
        script->length[i] = size;
        for (size_t j = 0; j < size; j++)
            script->plain[i][j] = text ? ' ' + random_bits() % 95 : random_bits();
    }
    return count;
}

static size_t read_messages(struct script *script, const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        die("%s: %m", path);
    size_t count = 0;
    char *line = NULL;
    size_t capacity = 0;
    for (ssize_t n; (n = getline(&line, &capacity, file)) > 0; line = NULL, capacity = 0, count++) {
        script->plain = reallocarray(script->plain, count + 1, sizeof *script->plain);
        script->length = reallocarray(script->length, count + 1, sizeof *script->length);
        script->plain[count] = (uint8_t *)line;
        script->length[count] = n - (line[n - 1] == '\n');
    }
    if (!count)
        die("%s is empty", path);
    fclose(file);
    return count;
}

/* Deflates a message (RFC 7692 section 7.2.1) and returns the size of the outcome. */
static size_t compress_message(z_stream *z, uint8_t *plain, size_t size, uint8_t *out, size_t room, int takeover)
{
    z->next_in = plain, z->avail_in = size;
    z->next_out = out, z->avail_out = room;
    if (deflate(z, Z_SYNC_FLUSH) != Z_OK || !z->avail_out)
        die("deflate failed");
    if (!takeover)
        deflateReset(z);
    return room - z->avail_out - 4;
}

static size_t write_frame(uint8_t *out, uint8_t first, uint8_t *payload, size_t size)
{
    uint64_t bits = random_bits();
    uint8_t key[4];
    memcpy(key, &bits, 4);
    size_t header = write_header(out, first, key, size);
    memcpy(out + header, payload, size);
    apply_mask(out + header, size, key);
    return header + size;
}

/* With context takeover the messages come twice. What the second pass refers back to is the same each time it is
 * repeated, as the messages are longer than zlib's window altogether: one stream, compressed once, goes on for ever. */
struct script write_script(const char *file, size_t size, int text, enum deflate deflate, unsigned ahead)
{
    struct script script = {0};
    size_t count = file ? read_messages(&script, file) : make_messages(&script, size, text);
    script.count = count;
    script.loop = deflate == TAKEOVER ? count : 0;
    script.total = script.loop + count;

    size_t sum = 0, longest = 0;
    for (size_t i = 0; i < count; i++) {
        sum += script.length[i];
        longest = script.length[i] > longest ? script.length[i] : longest;
    }
    if (deflate == TAKEOVER && sum < LEAST_TAKEOVER)
        die("with context takeover the messages must be %d bytes or more altogether", LEAST_TAKEOVER);

    z_stream z = {0};
    deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    size_t frames = script.total + ahead, room = deflateBound(&z, longest) + 16;
    uint8_t *compressed = allocate(room), first = FIN | (deflate ? RSV1 : 0) | (text ? TEXT : BINARY);
    script.frames = allocate(frames * (MAX_HEADER + room));
    script.start = allocate((frames + 1) * sizeof *script.start);
    for (size_t i = 0; i < script.total; i++) {
        uint8_t *payload = script.plain[i % count], *out = script.frames + script.start[i];
        size_t length = script.length[i % count];
        if (deflate) {
            length = compress_message(&z, payload, length, compressed, room, deflate == TAKEOVER);
            payload = compressed;
        }
        script.start[i + 1] = script.start[i] + write_frame(out, first, payload, length);
    }
    for (size_t i = script.total; i < frames; i++) {
        size_t j = script.loop + (i - script.total) % count, length = script.start[j + 1] - script.start[j];
        memcpy(script.frames + script.start[i], script.frames + script.start[j], length);
        script.start[i + 1] = script.start[i] + length;
    }
    deflateEnd(&z);
    free(compressed);
    return script;
}
