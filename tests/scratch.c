/* To be preloaded: how many bytes of aligned_alloc's blocks, where calls have their scratch, live at once at most. */
#include <pthread.h>
#include <stdlib.h>

#define MOST 256
static struct {
    void *block;
    size_t size;
} blocks[MOST];
static int count;
static size_t live, peak;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

void *aligned_alloc(size_t alignment, size_t size)
{
    void *block = __libc_memalign(alignment, size);
    pthread_mutex_lock(&lock);
    if (block && count < MOST) {
        blocks[count].block = block;
        blocks[count++].size = size;
        live += size;
        peak = peak > live ? peak : live;
    }
    pthread_mutex_unlock(&lock);
    return block;
}

void free(void *block)
{
    if (block && __atomic_load_n(&count, __ATOMIC_RELAXED)) {
        pthread_mutex_lock(&lock);
        for (int i = 0; i < count; i++)
            if (blocks[i].block == block) {
                live -= blocks[i].size;
                blocks[i] = blocks[--count];
                break;
            }
        pthread_mutex_unlock(&lock);
    }
    __libc_free(block);
}

/* From now on; what lives already does not count. */
void scratch_from_here(void) { count = 0, live = 0, peak = 0; }
size_t scratch_peak(void) { return peak; }
