#include "team.h"
#include "runtime.h"
#include <ctype.h>
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NAME_OF(isa, ...) #isa,
#define FMA_OF(isa, ...) fma_flops_##isa,
#define DETECT(isa, detected, ...) (detected) != 0,

static const char *const names[] = {ISA_LIST(NAME_OF)};
static double (*const fma[])(long) = {ISA_LIST(FMA_OF)};

int isa_count(void) { return sizeof names / sizeof *names; }
const char *isa_name(int isa) { return names[isa]; }
double fma_flops(int isa, long steps) { return fma[isa](steps); }

int isa_detected(int isa)
{
    const int detected[] = {ISA_LIST(DETECT)};
    return detected[isa];
}

static _Thread_local int proven = 1; /* the team this thread has had already */

/* The stack libgomp gives its threads: OMP_STACKSIZE, in KiB unless a letter says otherwise; 0 for the default. */
static size_t stack_bytes(void)
{
    static const char units[] = "BKMG";
    const char *text = getenv("OMP_STACKSIZE"), *unit = units + 1;
    char *end;
    text = text ? text : getenv("GOMP_STACKSIZE");
    if (!text)
        return 0;
    unsigned long n = strtoul(text, &end, 10);
    while (*end == ' ')
        end++;
    if (*end && strchr(units, toupper(*end)))
        unit = strchr(units, toupper(*end));
    return n < 1ul << 24 ? n << 10 * (unit - units) : 0;
}

static void *wait_for_all(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

int threads_probe(int wanted)
{
    wanted = wanted < MOST_THREADS ? wanted : MOST_THREADS;
    if (wanted <= proven)
        return wanted;
    pthread_t threads[MOST_THREADS - 1];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_attr_t attributes;
    int made = 0;
    pthread_attr_init(&attributes);
    if (stack_bytes())
        pthread_attr_setstacksize(&attributes, stack_bytes());
    pthread_mutex_lock(&gate);
    while (made < wanted - 1 && !pthread_create(&threads[made], &attributes, wait_for_all, &gate))
        made++;
    pthread_mutex_unlock(&gate);
    pthread_attr_destroy(&attributes);
    for (int i = 0; i < made; i++)
        pthread_join(threads[i], NULL);
    if (made == wanted - 1)
        proven = wanted;
    return made + 1;
}

void threads_forget(void)
{
    omp_pause_resource_all(omp_pause_hard);
    proven = 1;
}
