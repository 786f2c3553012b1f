/* The kernel table of the filter gradient driver: one for every ISA and compute type, chosen once at run time. */
#pragma once
#include "isa.h"
#include "move.h"
#include "../winograd/transforms.h"

#define TILE_ROWS 14 /* the most rows a register tile holds */
#define TILE_WIDE 2  /* the most vectors it is wide */
#define TILE_HIGH 3  /* the most rows of taps */
#define STRIDES 3    /* 1, 2: so many taps' distances from an output to the next, which share inputs; 0: any */
#define SLIDES 7     /* taps of a row that may do so, at most */

/* Pixels one step apart, in one operand and in the other: where the first lies, in bytes from a and from b, and which
 * rows of taps are inside the input. */
typedef struct {
    ptrdiff_t a, b;
    int count;
    short high[2];
} pixel_run;

/* What one register tile adds up over all pixels p of its runs: out[i][j] = sum_p a[p][i] * b[p][j],
 * depthwise out[i][j] = sum_p a[p + i*row_step][j] * b[p][k], where k is j or, of groups of `each` columns, that of j's
 * group which comes `turn` after it, round. Where the taps of a row are rows of one tile, they are so many of each of
 * its rows of taps (high_step bytes apart); of a run's o-th pixel its k-th counts if o*stride + k*dilation is inside
 * (in elements, each channel its own, where taps and channels are folded), and its row of taps is. */
typedef struct {
    const char *a, *b; /* IN */
    const pixel_run *runs;
    ptrdiff_t count;
    ptrdiff_t a_step, b_step; /* from a pixel to the next, in bytes */
    ptrdiff_t row_step;       /* depthwise: from a tap to the next, in bytes */
    ptrdiff_t each, turn;     /* depthwise: 1, 2, 4, 8, a vector's lanes at most; and less than that */
    ptrdiff_t high_step;      /* from a row of taps to the next, in bytes */
    ptrdiff_t high;           /* the first */
    ptrdiff_t stride, dilation, inside[2];
    void *out; /* OUT [rows] of the compute type, pitch elements apart */
    ptrdiff_t pitch;
    int accumulate;    /* start from what out holds */
    const char *later; /* what is read later, or NULL: fetch it into L2, so many bytes a pixel */
    ptrdiff_t later_step;
} tile_args;
typedef void (*tile_fn)(const tile_args *);
typedef void (*add_fn)(void *dst, const void *src, ptrdiff_t n); /* dst[i] += src[i] */
/* dst[i*step] = src[i*from], rounded to the storage type; step in bytes, from in elements. */
typedef void (*store_fn)(char *dst, ptrdiff_t step, const void *src, ptrdiff_t from, ptrdiff_t n);

/* dst[i] = g[i] * f'(y[i]) for i < n, in a storage type: f an activation, y what it gave; for SILU and GELU what it
 * took. */
typedef void (*slope_fn)(void *dst, const void *g, const void *y, ptrdiff_t n, int activation, double low, double high);

typedef struct {
    int lanes;                                   /* elements a vector */
    int rows[TILE_WIDE + 1];                     /* the most rows of a tile that is 1, 2 vectors wide */
    tile_fn outer[TILE_WIDE + 1][TILE_ROWS + 1]; /* [vectors][rows] */
    /* The taps of a row, or of several, are rows: so many rows of taps fit, [rows of taps][vectors][taps of a row]. */
    int high[TILE_ROWS + 1];
    tile_fn folded[TILE_HIGH + 1][TILE_WIDE + 1][TILE_ROWS + 1];
    tile_fn depthwise[STRIDES][TILE_HIGH + 1][TILE_WIDE + 1][TILE_ROWS + 1]; /* one row of taps, or three of three */
    add_fn add;
    fill_fn fill;
    gather_fn gather[DTYPES]; /* by storage type; NULL where it is not computed in this type */
    store_fn store[DTYPES];
    slope_fn slope[DTYPES];
    winograd_kernels winograd; /* in float32 */
} gradient_kernels;

KERNEL_TABLES(gradient_kernels)
