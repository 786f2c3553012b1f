/* The kernel table of the pixel driver: register tiles whose vectors lie along a row of output pixels. */
#pragma once
#include "isa.h"
#include "move.h"
#include <stdint.h>

#define FILTERS 4 /* the most filters, */
#define ROWS 6    /* rows of output */
#define WIDE 4    /* and vectors in a row that a tile has */
#define WIDTHS 3  /* tiles are 1, 2 or the ISA's most vectors wide */
#define ALL (ROWS * ROWS)
#define PRODUCTS 5   /* the most rows, and columns, of a filter gradient's tile */
#define TILE_WIDE 16 /* the most vectors that finish takes at a time */

/* A row of input that a tile meets. Output row r meets it with one row of the filter, row r + 1 with the row before. */
typedef struct {
    int32_t range;    /* the output rows it meets, as first*ROWS + last; or ALL, each with an input of its own */
    int32_t taps;     /* of a row of the filter, each with its channels */
    ptrdiff_t filter; /* where the first of these output rows' filters are */
} meeting;

/* Tiles side by side: out[m][r][j] = clamp(bias[m] + sum over the meetings of r and their taps q, in this order, of
 * input[meeting][offset[q] + j] * filters[filter(meeting, r) + q*next_tap][m]) */
typedef struct {
    const char *const *input; /* IN  [inputs] a row for every meeting; for every output row of one with ALL */
    const meeting *meetings;
    ptrdiff_t count;
    const ptrdiff_t *offset; /* IN  [taps] bytes */
    const char *filters;     /* IN  a block's filters, packed */
    ptrdiff_t next_tap;
    char *const *out; /* OUT [filters][ROWS] */
    int rows;         /* of output; at most the tile's */
    int bare;         /* no bias, no clamp */
    const char *bias; /* IN  [filters] */
    double low, high;
    ptrdiff_t first, tiles; /* in elements from the start of the rows, and how many */
    ptrdiff_t next;         /* elements from one vector of a row to the next */
    ptrdiff_t advance;      /* elements from one tile to the next */
} tile_args;
typedef void (*tile_fn)(const tile_args *);

/* What a tile of a filter gradient adds up, each lane for itself: sums[i*pitch + j] += x[i][p] * g[j][p] for the pixels
 * p of so many vectors, i < rows, j < columns. */
typedef struct {
    const void *x[PRODUCTS], *g[PRODUCTS]; /* IN */
    ptrdiff_t vectors;
    void *sums; /* OUT vectors */
    ptrdiff_t pitch;
} product_args;
typedef void (*product_fn)(const product_args *);
/* dst[i] = the sum of the lanes of vector i, from the first to the last, for i < n. */
typedef void (*totals_fn)(void *dst, const void *vectors, ptrdiff_t n);

/* dst[j*plane + i] = src[i*si + j*sj] for i < n, j < channels; si, sj in bytes. */
typedef void (*planes_fn)(void *dst, ptrdiff_t plane, const char *src, ptrdiff_t n, ptrdiff_t si, ptrdiff_t channels,
                          ptrdiff_t sj);
/* dst[i*step + j] = src[j*plane + i] for i < n, j < channels; step in bytes. */
typedef void (*interleave_fn)(char *dst, ptrdiff_t step, const void *src, ptrdiff_t plane, ptrdiff_t n,
                              ptrdiff_t channels);

typedef struct {
    int lanes;                     /* elements a vector */
    int wide[WIDTHS];              /* vectors in a row of a tile, ascending from 1 */
    int rows[FILTERS + 1][WIDTHS]; /* of output that such a tile has at most */
    tile_fn tile[FILTERS + 1][WIDTHS];
    int image_wide;
    tile_fn image[6]; /* by taps: a tile of one filter of taps*taps, of image_wide vectors; NULL for other sizes */
    int products;     /* rows and columns of a gradient's tile at most */
    product_fn product[PRODUCTS + 1][PRODUCTS + 1];
    totals_fn totals;
    interleave_fn interleave;
    fill_fn fill;
    planes_fn planes[DTYPES]; /* by storage type; NULL where it is not computed in this type */
    pack_fn pack[DTYPES];
    finish_fn finish[DTYPES];
} pixel_kernels;

KERNEL_TABLES(pixel_kernels)
