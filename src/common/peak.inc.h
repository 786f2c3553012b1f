/* The FMA peak of one core: 12 independent chains (two pipes, four or five cycles deep) in vectors of float32. */
#include "runtime.h"
#define T float
#define TN f32
#include "vector.h"

#define CHAINS 12

double WITH_ISA(fma_flops, ISA)(long steps)
{
    volatile float seed = 0.5f; /* read at run time: no chain may be computed by the compiler */
    V chain[CHAINS], factor = (V){0} + seed, term = (V){0} + seed;
    UNROLL for (int i = 0; i < CHAINS; i++)
        chain[i] = (V){0} + seed * (float)(i + 3);
    for (long k = 0; k < steps; k++)
        UNROLL for (int i = 0; i < CHAINS; i++)
            chain[i] = chain[i] * factor + term;
    V sum = (V){0};
    UNROLL for (int i = 0; i < CHAINS; i++)
        sum += chain[i];
    volatile float keep = sum[0];
    (void)keep;
    return 2.0 * CHAINS * VL * (double)steps;
}
