/* ISA detection, the FMA peak, and the probe that keeps libgomp from ending the process. */
#pragma once
#include "isa.h"

int isa_detected(int isa);
const char *isa_name(int isa);
int isa_count(void);
double fma_flops(int isa, long steps); /* OUT the floating-point operations done */

/* libgomp calls exit(1) when it cannot create a thread. So the first time a thread asks for a team of some size, as
 * many threads are created, all alive at once, and joined; returns the team that could be had. */
int threads_probe(int wanted);
void threads_forget(void); /* release OpenMP's threads, before a fork */

#define DECLARE(isa, ...) double fma_flops_##isa(long steps);
ISA_LIST(DECLARE)
#undef DECLARE
