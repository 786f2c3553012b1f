/* The kernel table of the convolution driver: one for every ISA and compute type, chosen once at run time. */
#pragma once
#include "isa.h"
#include "move.h"

#define TILE_ROWS 14    /* the most pixels a register tile holds; the pitch of a column of row pointers */
#define TILE_WIDE 2     /* the most vectors a register tile is wide, */
#define TILE_BROAD 8    /* but for tiles of one row or two, which are up to four blocks wide */
#define NARROW 4        /* columns at most of a tile whose lanes are pixels */
#define FEW_VECTORS 320 /* of filters that stay in L1 from tile to tile */

/* How tiles side by side find their steps' input: in one run, in several, or by an offset for each. */
enum places { ONE_RUN, SOME_RUNS, EACH_STEP };

/* What one register tile computes:
 *     out[i][j] = clamp(sum_r sum_k a[r][i][k] * b[r*run + k][j] + bias[i][j] + added[i][j]) */
typedef struct {
    /* IN  row i of run r is at a[r*a_step + i] + offset[r]: a_step is 0 where every run has the same pixels */
    const char *const *a;
    ptrdiff_t a_step;
    const ptrdiff_t *offset;
    ptrdiff_t runs, run;
    ptrdiff_t column; /* depthwise: the first channel of the tile within each run */
    const char *b;    /* IN  [runs*run] rows of filters, ldb elements apart */
    ptrdiff_t ldb;
    char *const *out;   /* OUT [rows] pointers to a tile's row each */
    const char *bias;   /* IN  a tile's row of values, */
    ptrdiff_t bias_row; /* and bytes to the next row's, for all blocks; or 0 */
    char *const *added; /* IN  [rows] pointers to a row each, as long as what is stored of it; NULL for zeros */
    int clamp;          /* whether low and high matter */
    double low, high;
    int accumulate; /* start from what out holds; with spare = 0 */
    int spare; /* bytes of each row's last vector that are not stored: 0, a half or three quarters of it; AVX-512 leaves
                  any */
    /* For tiles side by side: a[0], out[0] and added[0] are their first row's, the next lies so many bytes on. Each is
     * computed for so many blocks of columns, side by side too, whose filters lie `panel` bytes apart, as a broad
     * tile's */
    ptrdiff_t tiles, pixel, out_pixel, added_pixel, blocks, panel;
    /* Fetch what the next tile reads, whose rows lie `pixel` bytes apart as this one's, meanwhile: for tiles side by
     * side 1 where the one run lies dense, else 2 */
    int ahead;
    const char *later; /* what is read later: fetch it into L2, so many bytes a step */
    ptrdiff_t later_step;
} tile_args;
typedef void (*tile_fn)(const tile_args *);
/* sum[i*si + j*sj + k] += term[i*ti + j*tj + k] for i < ni, j < nj, k < n. */
typedef struct {
    void *sum;
    const void *term;
    ptrdiff_t ni, si, ti, nj, sj, tj, n;
} add_args;
typedef void (*add_fn)(const add_args *);

typedef struct {
    int lanes;                                  /* elements a vector */
    int rows[TILE_WIDE + 1];                    /* pixels of a full tile that is 1, 2 vectors wide */
    tile_fn gemm[TILE_WIDE + 1][TILE_ROWS + 1]; /* [vectors][rows wanted]: the smallest tile that holds them */
    tile_fn broad[5][3];                        /* [blocks][rows]: 4 of one row, 2 of one or two */
    tile_fn depthwise[TILE_WIDE + 1][TILE_ROWS + 1];
    tile_fn along[TILE_WIDE + 1][TILE_ROWS + 1]; /* tiles side by side */
    tile_fn narrow[NARROW + 1]; /* [columns]: the same, of `lanes` pixels, and runs of `lanes` channels at least */
    add_fn add;
    fill_fn fill;
    gather_fn gather[DTYPES]; /* by storage type; NULL where it is not computed in this type */
    pack_fn pack[DTYPES];
    finish_fn finish[DTYPES];
} conv_kernels;

KERNEL_TABLES(conv_kernels)
