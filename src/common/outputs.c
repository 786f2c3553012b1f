#include "outputs.h"
#include "memory.h"
#include <malloc.h>
#include <pthread.h>
#include <string.h>

#define SLOTS 16
#define PAGE 4096

static struct {
    void *block;
    size_t size;
} kept[SLOTS]; /* oldest first */
static int count;
static size_t total[2]; /* of blocks that stay ours, and of those that are lent */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Whether the system may have a block's pages while nobody uses it. */
static int lent(size_t size)
{
#ifdef MADV_FREE
    return size >= LENT_LEAST;
#else
    return 0;
#endif
}

/* Whether it has taken them. */
static int lend(void *block, size_t size)
{
#ifdef MADV_FREE
    return madvise(block, size / PAGE * PAGE, MADV_FREE) == 0;
#else
    return 0;
#endif
}

static void *take(int i)
{
    void *block = kept[i].block;
    total[lent(kept[i].size)] -= kept[i].size;
    count--;
    memmove(kept + i, kept + i + 1, (size_t)(count - i) * sizeof(kept[0]));
    return block;
}

void *output_malloc(void *context, size_t size)
{
    (void)context;
    void *block = NULL;
    int best = -1;
    if (size < KEPT_LEAST)
        return allocate_large(size);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count; i++) /* the tightest that wastes less than half of itself, newest first */
        if (kept[i].size >= size && kept[i].size / 2 < size && (best < 0 || kept[i].size <= kept[best].size))
            best = i;
    if (best >= 0)
        block = take(best);
    pthread_mutex_unlock(&lock);
    return block ? block : allocate_large(size);
}

void *output_calloc(void *context, size_t number, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(number, size, &bytes))
        return NULL;
    void *block = output_malloc(context, bytes);
    return block ? memset(block, 0, bytes) : NULL;
}

void output_free(void *context, void *block, size_t size)
{
    (void)context;
    (void)size;
    if (!block)
        return;
    const size_t usable = malloc_usable_size(block);
    const int kind = lent(usable);
    const size_t most = kind ? LENT_BYTES : KEPT_BYTES;
    void *old[SLOTS];
    int olds = 0;
    if (usable < KEPT_LEAST || usable > most || (kind && !lend(block, usable))) {
        free(block);
        return;
    }
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count;)
        if (count == SLOTS || (total[kind] + usable > most && lent(kept[i].size) == kind))
            old[olds++] = take(i);
        else
            i++;
    kept[count].block = block;
    kept[count++].size = usable;
    total[kind] += usable;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < olds; i++)
        free(old[i]);
}

void *output_realloc(void *context, void *block, size_t size)
{
    void *other = output_malloc(context, size);
    if (other && block) {
        const size_t usable = malloc_usable_size(block);
        memcpy(other, block, usable < size ? usable : size);
        output_free(context, block, usable);
    }
    return other;
}
