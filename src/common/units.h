/* Units of work that threads share: each starts with a stretch of its own and then helps the others. So a call like the
 * one before finds what it reads and writes in the same cores' caches, and a thread that wakes up late is not waited
 * for. */
#pragma once
#include <stddef.h>

#define MOST_THREADS 257 /* that prepare() gives */

typedef struct {
    _Alignas(64) ptrdiff_t next; /* a line each, for every thread writes its own */
    ptrdiff_t end;
} stretch;

static inline void share_units(stretch *s, int team, ptrdiff_t units)
{
    for (int i = 0; i < team; i++) {
        s[i].next = units * i / team;
        s[i].end = units * (i + 1) / team;
    }
}

/* The next unit for thread `me`, or -1 when all are taken. */
static inline ptrdiff_t take_unit(stretch *s, int team, int me)
{
    for (int i = 0; i < team; i++) {
        stretch *of = s + (me + i) % team;
        if (__atomic_load_n(&of->next, __ATOMIC_RELAXED) < of->end) {
            const ptrdiff_t unit = __atomic_fetch_add(&of->next, 1, __ATOMIC_RELAXED);
            if (unit < of->end)
                return unit;
        }
    }
    return -1;
}
