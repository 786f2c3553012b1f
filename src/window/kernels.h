/* The kernel table of the window driver: pooling, its gradients, morphology and local response normalisation. */
#pragma once
#include "isa.h"
#include <stdint.h>
#include "move.h"

/* What a window makes of its taps. MAXIMUM, TOTAL: of the inputs. FIRST: the maximum, and which tap gave it first.
 * SUMMIT: the same of input + weight. CHOSEN: the total of those inputs whose own number is that of the tap. SPREAD: a
 * gradient at the place of its maximum, and zeros at the other taps. NaN is the largest of all numbers. */
enum reduction { MAXIMUM, TOTAL, FIRST, SUMMIT, CHOSEN, SPREAD, REDUCTIONS };
/* How the lanes of a vector lie in the input: some elements apart, next to each other, or every second one. */
enum spacing { ANY, ADJACENT, ALTERNATE, SPACINGS };

/* count[0] x count[1] windows of `lanes` lanes each. Pointers are to the first lane of the first tap of the first
 * window; all steps are in bytes but for lane_step, and a window's lanes are next to each other in dst. */
typedef struct {
    const char *src; /* IN */
    ptrdiff_t taps[3], step[3];
    ptrdiff_t count[2], src_step[2], dst_step[2];
    ptrdiff_t lanes, lane_step; /* lane_step in elements */
    char *dst; /* OUT, and IN to accumulate; NULL where only the tap is wanted; of SPREAD laid out as src */
    char *by;  /* OUT of FIRST and SUMMIT, laid out as dst: the tap's number; IN of CHOSEN, as src; of SPREAD the
                * gradient, of which dst_step are the steps */
    ptrdiff_t number, numbers[3]; /* the number of the first tap, -1 where there are none; how it grows with each tap */
    const char *weights;          /* IN of SUMMIT, in the compute type */
    ptrdiff_t weight_step[3];     /* along each axis of taps */
    ptrdiff_t weight_lane;        /* 0, or 1 where each lane has its own */
    double sign, divisor;         /* SUMMIT: sign * max(sign*input + weight). TOTAL: sum / divisor */
    int accumulate;               /* start from dst (and by); lanes must be a multiple of a vector's */
} window_args;
typedef void (*window_fn)(const window_args *);

/* dst[i*si + j*sj] (bytes) = src[i*pitch + j*step] (elements), rounded to the storage type. */
typedef void (*scatter_fn)(char *dst, ptrdiff_t si, ptrdiff_t sj, const void *src, ptrdiff_t pitch, ptrdiff_t step,
                           ptrdiff_t ni, ptrdiff_t nj);
/* The same for numbers: int64 or int32 (size 8 or 4) of base + i*gi + j*gj + by; `none` where by is -1. */
typedef void (*positions_fn)(char *dst, ptrdiff_t si, ptrdiff_t sj, int size, const void *by, ptrdiff_t pitch,
                             ptrdiff_t ni, ptrdiff_t nj, int64_t base, int64_t gi, int64_t gj, int64_t none);
/* dst[i*dp + j*size] = src[j*sp + i*size], elements of the compute type; steps in bytes */
typedef void (*transpose_fn)(char *dst, ptrdiff_t dp, const char *src, ptrdiff_t sp, ptrdiff_t ni, ptrdiff_t nj);
typedef void (*divide_fn)(void *x, ptrdiff_t n, double divisor);
/* totals[by[i]*pitch + j] += x[i*pitch + j] for i < ni, j < nj where by is not -1. */
typedef void (*tally_fn)(void *totals, const void *by, const void *x, ptrdiff_t pitch, ptrdiff_t ni, ptrdiff_t nj);

/* Local response normalisation of one pixel. All arrays have `channels` elements rounded up to whole vectors; `squares`
 * has depth_radius zeros and a vector more on either side. */
typedef struct {
    const void *x;      /* IN  */
    const void *dy, *y; /* IN of the gradient, else NULL */
    void *out, *norm;   /* OUT, scratch */
    void *squares;      /* scratch, at channel 0 */
    ptrdiff_t channels, radius;
    double bias, alpha, beta;
} lrn_args;
typedef void (*lrn_fn)(const lrn_args *);

typedef struct {
    int lanes; /* elements a vector */
    window_fn window[REDUCTIONS][SPACINGS];
    fill_fn fill;
    transpose_fn transpose;
    divide_fn divide;
    tally_fn tally;
    positions_fn positions;
    lrn_fn lrn; /* NULL for integers */
    gather_fn gather[DTYPES];
    scatter_fn scatter[DTYPES];
} window_kernels;

#define DECLARE(isa, detected) extern const window_kernels window_kernels_##isa[COMPUTE_TYPES];
ISA_LIST(DECLARE)
#undef DECLARE
const window_kernels *window_kernels_of(int isa); /* by place in ISA_LIST */
