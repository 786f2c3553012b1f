/* Threads of a team that woke on one CPU while another is idle. The kernel may start a sleeping thread on the CPU of
 * the one that woke it, and leave the two there for as long as they wake each other: on virtual machines an idle CPU
 * looks as if it were taken away. A team of two then takes as long as one thread. Such a thread moves, and stays away.
 */
#pragma once
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>

typedef struct {
    pthread_t master;
    cpu_set_t taken; /* the CPUs on which threads of the team have begun */
} team_cpus;

/* By the thread that makes a team. */
static inline void begin_team(team_cpus *team)
{
    const int cpu = sched_getcpu();
    team->master = pthread_self();
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
#else
typedef struct { char none; } team_cpus;
static inline void begin_team(team_cpus *team) { (void)team; }
static inline void keep_apart(team_cpus *team) { (void)team; }
#endif
