/* What is to be known of L1, and large blocks of memory for packed filters: in huge pages where the system gives them
 * on request, since packing writes to many places at once and a new page costs more than the 4 KiB that are put into
 * it. */
#pragma once
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Bytes that a call has on its stack; none where every block is to be watched. */
#ifdef __SANITIZE_ADDRESS__
enum { AT_HAND = 0 };
#else
enum { AT_HAND = 1 << 14 };
#endif

static inline void *allocate_from(size_t alignment, size_t size)
{
    const size_t huge = (size_t)2 << 20;
    if (size < 2 * huge)
        return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    void *p = aligned_alloc(huge, (size + huge - 1) / huge * huge);
#ifdef MADV_HUGEPAGE
    if (p)
        madvise(p, size, MADV_HUGEPAGE);
#endif
    return p;
}

static inline void *allocate_large(size_t size) { return allocate_from(64, size); }
static inline void *allocate_pages(size_t size) { return allocate_from(4096, size); }

enum { L1_PERIOD = 4096 }; /* bytes: what lies a multiple of them apart shares one set of L1 */

/* What the system tells of the caches, or `otherwise` where it does not. Asking takes some microseconds. */
static inline long told(int name, long otherwise)
{
    const long value = sysconf(name); /* of no name: -1 */
    return value > 0 ? value : otherwise;
}
#ifndef _SC_LEVEL1_DCACHE_ASSOC
#define _SC_LEVEL1_DCACHE_ASSOC (-1)
#define _SC_LEVEL2_CACHE_SIZE (-1)
#endif

/* Cache lines that a set of L1 holds, and the bytes of a core's L2. */
static inline long l1_ways(void) { return told(_SC_LEVEL1_DCACHE_ASSOC, 8); }
static inline long l2_bytes(void) { return told(_SC_LEVEL2_CACHE_SIZE, 2 << 20); }

/* Whether vectors that cross lines cost more where they are loaded than where they are stored. */
static inline int loads_suffer(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    return __builtin_cpu_is("amd");
#else
    return 0;
#endif
}
