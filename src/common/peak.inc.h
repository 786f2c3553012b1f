/* The FMA peak of one core: 12 independent chains (two pipes, four or five cycles deep) in vectors of float32. */
#define T float
#define TN f32
#include "vector.h"

#define CHAINS 12
#define PEAK_(isa) fma_flops_##isa
#define PEAK(isa) PEAK_(isa)

double PEAK(ISA)(long steps)
{
    V chain[CHAINS], factor = (V){0} + 0.5f, term = (V){0} + 1.0f;
    UNROLL for (int i = 0; i < CHAINS; i++)
        chain[i] = (V){0} + (float)i;
    for (long k = 0; k < steps; k++) {
        UNROLL for (int i = 0; i < CHAINS; i++)
            chain[i] = chain[i] * factor + term;
        __asm__ volatile("" ::: "memory");
    }
    V sum = (V){0};
    UNROLL for (int i = 0; i < CHAINS; i++)
        sum += chain[i];
    volatile float keep = sum[0];
    (void)keep;
    return 2.0 * CHAINS * VL * (double)steps;
}
