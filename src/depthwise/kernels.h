/* The kernel table of the depthwise driver: windows that slide. */
#pragma once
#include "isa.h"
#include "move.h"

#define SLIDE_PIXELS 7 /* the most outputs of a row that a tile holds: 7, 14, 28, 56, 112 are whole tiles */
#define SLIDE_SOME 4   /* taps of a row of any other windows that go together */
#define SLIDE_PLANE 5  /* the most taps of windows that slide over planes */
#define SLIDE_UP 5     /* the most taps of windows that slide over the outputs instead, two of them for each input */
#define SLIDE_ROWS 4   /* and of rows: more reach over too many rows of input at once for L1 and the prefetchers */

/* A tile of outputs, a vector of channels after the other:
 *     out[r][t][c] = clamp(sum_p sum_g sum_i sum_k x[p][r*stride_h + i][t*stride_w + k][c - c % each + g]
 *                                                  * w[p][g][i][k][c] + bias[c] + added[r][t][c])
 * over the rows [top, bottom) and the columns [left, right) of the tile's input, which are those inside the image: what
 * lies outside is left out, so that a filter's infinity does not meet a zero. In this order, one accumulator a sum.
 * Rows and columns are a tap apart; only slide_any knows dilated windows that do not start a tap apart, and counts
 * columns by one. */
typedef struct {
    const char *x;                /* IN  the tile's first plane, row and column, which may lie outside the image */
    ptrdiff_t plane, row, column; /* steps in bytes */
    ptrdiff_t planes, top, bottom, left, right;
    ptrdiff_t each; /* channels that are summed: 1, 2, 4, 8 */
    ptrdiff_t rows, taps_h, stride_h;
    ptrdiff_t taps_w, stride_w, dilation_w; /* for slide_any */
    const char *w;                          /* IN  [blocks][planes][each][taps_h][taps_w] vectors */
    ptrdiff_t w_block;
    const ptrdiff_t *at; /* IN  [blocks] the first channel of each; they may overlap */
    ptrdiff_t blocks;
    char *out; /* OUT */
    ptrdiff_t out_row, out_column;
    const char *bias;  /* IN  a value for every channel */
    const char *added; /* IN  as out, in steps of its own; NULL for zeros */
    ptrdiff_t added_row, added_column;
    int clamp;
    double low, high;
    int half; /* for slide_up: the last output is not there */
    /* For slide_any: columns lie together by what is left of them after so many, one residue's so many bytes behind the
     * other's; else 1 and 0. */
    ptrdiff_t residues, residue;
} slide_args;
typedef void (*slide_fn)(const slide_args *);

#define PLANE_ROWS (REGISTERS == 32 ? 6 : 4)  /* of outputs that a tile of a plane has, */
#define PLANE_PAIRS (REGISTERS == 32 ? 3 : 2) /* or pairs of them, */
#define PLANE_WIDE (REGISTERS == 32 ? 2 : 1)  /* and vectors of a row */

/* Some rows of outputs of one channel whose pixels lie side by side:
 *     out[r][j] = clamp(sum_i sum_k x[(first + r)*stride + i - top][j*stride + k - left] * w[i*taps + k] + bias)
 * for r < rows, j < columns; zeros lie outside the plane. In this order, one accumulator a sum. */
typedef struct {
    const char *x;                /* IN */
    ptrdiff_t row, height, width; /* bytes from row to row; at least stride vectors wide, the output one */
    ptrdiff_t first, top, left;   /* top and left less than the taps, and not negative */
    const void *w;                /* IN  [taps*taps], so many elements apart */
    ptrdiff_t w_step;
    const void *bias;                 /* IN  one value, or NULL */
    char *out;                        /* OUT */
    ptrdiff_t out_row, rows, columns; /* bytes from row to row */
    int half;                         /* of pairs of rows */
    int clamp;
    double low, high;
    /* [(rows - 1)*stride + taps][pitch]: rows with the zeros before and behind them, already there; of stride 2 the
     * even pixels, from half the pitch on the odd ones */
    void *room;
    ptrdiff_t pitch;
} plane_args;
typedef void (*plane_fn)(const plane_args *);

/* A transposed convolution of stride 2 along both axes, as plane_args says it, but rows are in pairs: 2*r and 2*r + 1,
 * the last may be without a second (half), and so may columns, from which first, top, left and rows count: out[2*r +
 * a][2*j + b] = clamp(sum_i sum_k x[first + r + i - top][j + k - left] * w[A*taps + B] + bias) where A = a + parity -
 * 2*(i - before) and B = b + parity - 2*(k - before) are taps, before = (taps - 1 - parity)/2, for i, k <= before +
 * parity. */

/* Filters w[taps][pitch] in vectors, block by block: dst[blocks][taps] = w[tap][at[block]...]. */
typedef void (*arrange_fn)(void *dst, const void *w, ptrdiff_t taps, ptrdiff_t pitch, const ptrdiff_t *at,
                           ptrdiff_t blocks);

typedef struct {
    slide_fn slide[3][2][SLIDE_PIXELS + 1]; /* [3, 5, 7 taps][stride 1, 2][pixels: 1, 2, 4, 7]; floats only */
    slide_fn any[SLIDE_PIXELS + 1];         /* any taps, stride and dilation along the row */
    /* A transposed convolution of stride 2 along the row: [2 to 5 taps][first][pairs of outputs: 1, 2, 4, 7]. Output t
     * of a tile is the sum of x[c] * w[k] with t + first - 2*c = k; column 0 is the first that the first pair meets. */
    slide_fn up[SLIDE_UP + 1][2][SLIDE_PIXELS + 1];
    arrange_fn arrange;
    plane_fn plane[SLIDE_PLANE + 1][3];    /* [taps: 3, 5][stride: 1, 2]; NULL where there is none */
    plane_fn plane_up[SLIDE_PLANE + 1][2]; /* [taps: 2 to 5][parity] */
} depthwise_kernels;

KERNEL_TABLES(depthwise_kernels)
