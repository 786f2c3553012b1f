#include "outputs.h"
#include "memory.h"
#include <malloc.h>
#include <pthread.h>
#include <string.h>

#define SLOTS 16
#define PAGE 4096
#define LINE 64

/* Where a large output starts in its page. Loads that lie a multiple of 4096 bytes from a store wait for it; of 256
 * channels every fourth pixel lies so, if outputs start in their page where inputs do. NumPy's large arrays start
 * at 16. */
static const size_t starts[2] = {384, 704};
static int turn;

static struct {
    void *block;
    size_t size;
    int lent;  /* the system may have its pages while nobody uses it */
} kept[SLOTS]; /* oldest first */
static int count;
static size_t total[2]; /* of blocks that stay ours, and of those that are lent */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Let the system have a block's pages: whether it takes any. */
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
    total[kept[i].lent] -= kept[i].size;
    count--;
    memmove(kept + i, kept + i + 1, (size_t)(count - i) * sizeof(kept[0]));
    return block;
}

/* An output in its block, which is named before it. */
static void *place(char *block, size_t start)
{
    if (block)
        memcpy(block + start - sizeof(block), &block, sizeof(block));
    return block ? block + start : NULL;
}

static char *block_of(void *output)
{
    char *block;
    memcpy(&block, (char *)output - sizeof(block), sizeof(block));
    return block;
}

void *output_malloc(void *context, size_t size)
{
    (void)context;
    char *block = NULL;
    int best = -1;
    if (size < KEPT_LEAST)
        return place(allocate_large(LINE + size), LINE);
    if (__builtin_add_overflow(size, PAGE, &size))
        return NULL;
    pthread_mutex_lock(&lock);
    const size_t start = starts[turn ^= 1];
    for (int i = 0; i < count; i++) /* the tightest that wastes less than half of itself, newest first */
        if (kept[i].size >= size && kept[i].size / 2 < size && (best < 0 || kept[i].size <= kept[best].size))
            best = i;
    if (best >= 0)
        block = take(best);
    pthread_mutex_unlock(&lock);
    return place(block ? block : allocate_pages(size), start);
}

void *output_calloc(void *context, size_t number, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(number, size, &bytes))
        return NULL;
    void *output = output_malloc(context, bytes);
    return output ? memset(output, 0, bytes) : NULL;
}

void output_free(void *context, void *output, size_t size)
{
    (void)context;
    (void)size;
    if (!output)
        return;
    void *block = block_of(output);
    const size_t usable = malloc_usable_size(block);
    void *old[SLOTS];
    int olds = 0;
    pthread_mutex_lock(&lock);
    const int lent = usable >= LENT_LEAST && total[0] + usable > KEPT_BYTES;
    pthread_mutex_unlock(&lock);
    const size_t most = lent ? LENT_BYTES : KEPT_BYTES;
    if (usable < KEPT_LEAST + PAGE || usable > most || (lent && !lend(block, usable))) {
        free(block);
        return;
    }
    pthread_mutex_lock(&lock);
    for (int i = 0; i < count;)
        if (count == SLOTS || (total[lent] + usable > most && kept[i].lent == lent))
            old[olds++] = take(i);
        else
            i++;
    kept[count].block = block;
    kept[count].size = usable;
    kept[count++].lent = lent;
    total[lent] += usable;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < olds; i++)
        free(old[i]);
}

void *output_realloc(void *context, void *output, size_t size)
{
    void *other = output_malloc(context, size);
    if (other && output) {
        char *block = block_of(output);
        const size_t usable = (size_t)(block + malloc_usable_size(block) - (char *)output);
        memcpy(other, output, usable < size ? usable : size);
        output_free(context, output, usable);
    }
    return other;
}
