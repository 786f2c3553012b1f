/* A team of threads: how it shares units of work, and the CPUs it runs on. */
#pragma once
#include <stddef.h>
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>

/* Units of work that threads share: each starts with a stretch of its own and then helps the others. So a call like the
 * one before finds what it reads and writes in the same cores' caches, and a thread that wakes up late is not waited
 * for. */
#define MOST_THREADS 257 /* of a team, as threads_probe() has it */

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

/* Threads of a team that woke on one CPU while another is idle. The kernel may start a sleeping thread on the CPU of
 * the one that woke it, and leave the two there for as long as they wake each other: on virtual machines an idle CPU
 * looks as if it were taken away. A team of two then takes as long as one thread. Such a thread moves, and stays away.
 */
typedef struct {
    pthread_t master;
    cpu_set_t taken; /* the CPUs on which threads of the team have begun, */
    int begun;       /* and how many have but the master */
} team_cpus;

/* By the thread that makes a team. */
static inline void begin_team(team_cpus *team)
{
    const int cpu = sched_getcpu();
    team->master = pthread_self();
    team->begun = 0;
    CPU_ZERO(&team->taken);
    if (cpu >= 0 && cpu < CPU_SETSIZE)
        CPU_SET(cpu, &team->taken);
}

/* By its other threads, when they begin: one that finds its CPU taken is left those that the master may use and that
 * nobody has taken, if there are any. */
static inline void keep_apart(team_cpus *team)
{
    const int bits = 8 * sizeof(unsigned long);
    unsigned long *taken = (unsigned long *)&team->taken, *left;
    cpu_set_t allowed;
    int cpu = sched_getcpu();
    __atomic_fetch_add(&team->begun, 1, __ATOMIC_RELAXED);
    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return;
    if (!(__atomic_fetch_or(taken + cpu / bits, 1ul << cpu % bits, __ATOMIC_RELAXED) >> cpu % bits & 1))
        return;
    if (pthread_getaffinity_np(team->master, sizeof allowed, &allowed))
        return;
    left = (unsigned long *)&allowed;
    for (int i = 0; i < CPU_SETSIZE / bits; i++)
        left[i] &= ~__atomic_load_n(taken + i, __ATOMIC_RELAXED);
    if (CPU_COUNT(&allowed) == 0 || sched_setaffinity(0, sizeof allowed, &allowed))
        return;
    cpu = sched_getcpu();
    if (cpu >= 0 && cpu < CPU_SETSIZE)
        __atomic_fetch_or(taken + cpu / bits, 1ul << cpu % bits, __ATOMIC_RELAXED);
}

/* By the master when it has nothing left to do. A thread that has not begun may be waiting for the master's CPU: it is
 * let in now, to move away. Were the master to sleep first, that thread would wake it, on the CPU that it has moved to.
 */
static inline void let_in(const team_cpus *team, int others)
{
    for (int i = 0; i < 4 && __atomic_load_n(&team->begun, __ATOMIC_RELAXED) < others; i++)
        sched_yield();
}
