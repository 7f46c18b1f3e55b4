# cython: language_level=3
"""Memory for the frames of greenlets, in C. stacks.py says what it does."""

cdef extern from *:
    """
    #include <stdatomic.h>

    /* What CPython asks for at first (DATA_STACK_CHUNK_SIZE in its pystate.c). */
    #define STACK_SIZE 16384
    #define MOST_STACKS 64

    static PyObjectArenaAllocator beneath;
    static void *stacks[MOST_STACKS];
    static int stack_count;
    /* There may be several interpreters, each with a lock of its own. Who comes second does not wait, but goes beneath. */
    static atomic_flag in_use = ATOMIC_FLAG_INIT;

    static void *allocate(void *context, size_t size)
    {
        void *stack = NULL;
        if (size == STACK_SIZE && !atomic_flag_test_and_set(&in_use)) {
            if (stack_count)
                stack = stacks[--stack_count];
            atomic_flag_clear(&in_use);
        }
        return stack ? stack : beneath.alloc(beneath.ctx, size);
    }

    static void release(void *context, void *memory, size_t size)
    {
        int kept = 0;
        if (size == STACK_SIZE && !atomic_flag_test_and_set(&in_use)) {
            if ((kept = stack_count < MOST_STACKS))
                stacks[stack_count++] = memory;
            atomic_flag_clear(&in_use);
        }
        if (!kept)
            beneath.free(beneath.ctx, memory, size);
    }

    static void begin(void)
    {
        PyObjectArenaAllocator above = {NULL, allocate, release};
        if (beneath.alloc)
            return;
        PyObject_GetArenaAllocator(&beneath);
        PyObject_SetArenaAllocator(&above);
    }
    """
    void begin()


def keep_stacks():
    begin()
