/* What the connections send: frames made beforehand, back to back. Those in [loop, total) repeat for ever. */
#ifndef SCRIPT_H
#define SCRIPT_H

#include <stddef.h>
#include <stdint.h>

enum deflate { PLAIN, NO_TAKEOVER, TAKEOVER };

struct script {
    uint8_t *frames, **plain;
    size_t *start, *length;      /* of a frame in `frames`; of a plain message */
    unsigned count, loop, total; /* plain messages; the first of the frames that repeat; all frames */
};

/* Random messages of `size` bytes, printable if they are text; or the lines of a file, if there is one. Copies of the
 * frames from `loop` on follow the last one, so that `ahead` frames from any place on are one piece of memory. */
struct script write_script(const char *file, size_t size, int text, enum deflate deflate, unsigned ahead);

/* The place in the script, for a place behind its end. */
static inline unsigned script_place(const struct script *script, unsigned place)
{
    return place < script->total ? place : script->loop + (place - script->total) % script->count;
}

#endif
