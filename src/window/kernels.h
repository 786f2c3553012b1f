/* The kernel table of the window driver: pooling, its gradients, morphology and local response normalisation. */
#pragma once
#include "axis.h"
#include "isa.h"
#include <stdint.h>
#include "move.h"

/* What a window makes of its taps. MAXIMUM, TOTAL: of the inputs. FIRST: the maximum, and which tap gave it first.
 * SUMMIT: the same of input + weight. NaN is the largest of all numbers. */
enum reduction { MAXIMUM, TOTAL, FIRST, SUMMIT, REDUCTIONS };
/* How the lanes of a vector lie in the input: some elements apart, next to each other, or every second one. */
enum spacing { ANY, ADJACENT, ALTERNATE, SPACINGS };

/* count[0] x count[1] windows of `lanes` lanes each. Pointers are to the first lane of the first tap of the first
 * window; all steps are in bytes but for lane_step, and a window's lanes are next to each other in dst.
 *
 * MAXIMUM and TOTAL of overlapping windows go row by row of outputs: first the rows of taps become one row in scratch,
 * with what stands for the outside of the input at its ends, and then along that. Then src is at column 0, count[0] x
 * count[1] are planes and rows of outputs, and a row's positions go in turn to each of the jobs along it, which are the
 * phases of a gradient, or one. */
typedef struct {
    const char *src; /* IN */
    ptrdiff_t taps[3], step[3];
    ptrdiff_t count[2], src_step[2], dst_step[2];
    ptrdiff_t lanes, lane_step;   /* lane_step in elements */
    char *dst;                    /* OUT, and IN to accumulate; NULL where only the tap is wanted */
    char *by;                     /* OUT of FIRST and SUMMIT, laid out as dst: the tap's number */
    ptrdiff_t number, numbers[3]; /* the number of the first tap, -1 where there are none; how it grows with each tap */
    const char *weights;          /* IN of SUMMIT, in the compute type */
    ptrdiff_t weight_step[3];     /* along each axis of taps */
    ptrdiff_t weight_lane;        /* 0, or 1 where each lane has its own */
    double sign, divisor;         /* SUMMIT: sign * max(sign*input + weight). TOTAL: sum / divisor */
    int accumulate;               /* start from dst (and by); lanes must be a multiple of a vector's */
    int by_columns;               /* MAXIMUM, TOTAL: each column's taps first, as row by row; */
    int outside;                  /* and where some are outside, a sum of zeros is 0, not -0, as there */

    /* Row by row: */
    int spare;        /* src is scratch too: 2 vectors more may be read */
    ptrdiff_t column; /* from a column of the input to the next */
    const JobAxis *jobs;
    ptrdiff_t phases, start, positions; /* [start, start + positions) of a row of outputs; dst is at position 0, */
    ptrdiff_t position;                 /* and from there to the next */
    ptrdiff_t together;                 /* rows of outputs at a time, */
    void *row;             /* and scratch for them: the lanes of every column that a tap meets, and a vector more */
    const JobAxis *counts; /* of a mean, where an output's taps are counted; divisor: the rows of them inside, or 0 */
} window_args;
typedef void (*window_fn)(const window_args *);

/* Whether there is a kernel for windows which share columns, that keeps those in registers; or they share none. */
static inline int windows_slide(const JobAxis *w) { return w->stride >= w->taps || w->taps == 3 || w->taps == 2; }

static inline ptrdiff_t floor_div(ptrdiff_t a, ptrdiff_t b) { return b == 1 ? a : a >= 0 ? a / b : -((b - 1 - a) / b); }

/* The taps [k0, k1) of [first, last) that output o finds inside the input; returns where other outputs than o's like
 * begin, at most `end`. */
static inline ptrdiff_t stretch_of(const JobAxis *a, ptrdiff_t o, ptrdiff_t end, ptrdiff_t first, ptrdiff_t last,
                                   ptrdiff_t *k0, ptrdiff_t *k1)
{
    const ptrdiff_t corner = o * a->stride - a->lo, enter = -floor_div(corner, a->dilation);
    const ptrdiff_t leave = floor_div(a->size - 1 - corner, a->dilation) + 1;
    *k0 = enter > first ? enter : first;
    *k1 = leave < last ? leave : last;
    *k1 = *k1 > *k0 ? *k1 : *k0;
    if (*k0 != first || *k1 != last || first == last)
        return o + 1;
    const ptrdiff_t same = (a->size - 1 + a->lo - (last - 1) * a->dilation) / a->stride + 1;
    return same < end ? same : end;
}

/* The gradient of the maxima of some windows: each adds its own to dst where its first maximum lies; NaN is the
 * largest. src and dst are laid out alike. */
typedef struct {
    const char *src, *grad;         /* IN of the first window, and its first tap */
    char *dst;                      /* IN, OUT at that tap */
    ptrdiff_t taps[2], step[2];     /* rows of taps, along d and h, bytes */
    ptrdiff_t own[3][2];            /* taps [first, end) along d, h, w that may be written */
    ptrdiff_t newer;                /* of windows that slide: rows of taps from this on are zeros, and not read */
    ptrdiff_t columns, column_step; /* taps of a row, bytes from one to the next, */
    const ptrdiff_t *column;        /* or where each lies; NULL only of more than 3 */
    ptrdiff_t windows, src_step, grad_step; /* bytes */
    ptrdiff_t lanes, lane_step;             /* a vector at least; elements from one to the next, 2 for pairs */
    int fresh;                              /* no other windows meet these taps: dst is written, zeros too */
    const JobAxis *along;     /* where lanes are the outputs of a row and taps may be outside: its axis, or NULL, */
    ptrdiff_t position;       /* and the first output */
    const char *weights;      /* IN or NULL: a tap is sign * input + weight */
    ptrdiff_t weight_step[3]; /* as in window_args, for each lane its own */
    double sign;
} route_args;
typedef void (*route_fn)(const route_args *);

/* The rows of taps of windows of one plane, where all of them may be written; else 0. */
static inline ptrdiff_t own_rows(const route_args *a)
{
    const int all = a->own[0][1] - a->own[0][0] == 1 && a->own[1][1] - a->own[1][0] == a->taps[1] &&
                    a->own[2][1] - a->own[2][0] == a->columns;
    return all && a->taps[0] == 1 ? a->taps[1] : 0;
}

/* The columns from a window to the next, one or two, where what they share stays in registers: of three columns, in a
 * row of taps or three; else 0. */
static inline ptrdiff_t slide_of(const route_args *a)
{
    const ptrdiff_t rows = own_rows(a);
    if (a->windows < 2 || a->columns != 3 || (rows != 1 && rows != 3))
        return 0;
    return a->src_step == a->column_step ? 1 : a->src_step == 2 * a->column_step ? 2 : 0;
}

/* Every second of n elements to first, from the first on, the others to second; and back. */
typedef void (*split_fn)(void *first, void *second, const void *src, ptrdiff_t n);
typedef void (*merge_fn)(void *dst, const void *first, const void *second, ptrdiff_t n);

/* dst[i*si + j*sj] (bytes) = src[i*pitch + j*step] (elements), rounded to the storage type. */
typedef void (*scatter_fn)(char *dst, ptrdiff_t si, ptrdiff_t sj, const void *src, ptrdiff_t pitch, ptrdiff_t step,
                           ptrdiff_t ni, ptrdiff_t nj);
/* The same for numbers: int64 or int32 (size 8 or 4) of base + i*gi + j*gj + by; `none` where by is -1. */
typedef void (*positions_fn)(char *dst, ptrdiff_t si, ptrdiff_t sj, int size, const void *by, ptrdiff_t pitch,
                             ptrdiff_t ni, ptrdiff_t nj, int64_t base, int64_t gi, int64_t gj, int64_t none);
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
    int lanes;    /* elements a vector */
    double least; /* what all other numbers are larger than */
    window_fn window[REDUCTIONS];
    window_fn rows[TOTAL + 1];
    route_fn route[2], route_pairs; /* without weights, and with; of two columns, lanes windows */
    split_fn split;
    merge_fn merge;
    fill_fn fill;
    tally_fn tally;
    positions_fn positions;
    lrn_fn lrn;
    gather_fn gather[DTYPES];
    scatter_fn scatter[DTYPES];
} window_kernels;

KERNEL_TABLES(window_kernels)
