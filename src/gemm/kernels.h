/* The kernel table of the convolution driver: one for every ISA and compute type, chosen once at run time. */
#pragma once
#include "isa.h"
#include <stddef.h>
#include <stdint.h>

#define TILE_ROWS 14 /* the most pixels a register tile holds; the pitch of a column of row pointers */
#define TILE_WIDE 2  /* the most vectors a register tile is wide */

/* What one register tile computes: out[i][j] = clamp(sum_r sum_k a[r][i][k] * b[r*run + k][j] + bias[j]) */
typedef struct {
    const char *const *a; /* IN  [runs][TILE_ROWS] pointers to `run` elements each */
    ptrdiff_t runs, run;
    ptrdiff_t column; /* depthwise: the first channel of the tile within each run */
    const char *b;    /* IN  [runs*run] rows of filters, ldb elements apart */
    ptrdiff_t ldb;
    char *const *out;  /* OUT [rows] pointers to a tile's row each */
    const char *bias;  /* IN  a tile's row of values */
    double low, high;  /* the clamp; the type's own limits when there is none */
    int accumulate;    /* start from what out holds */
} tile_args;
typedef void (*tile_fn)(const tile_args *);

/* A dense copy in the compute type of a strided plane: dst[i*pitch + j*step] = src[i*si + j*sj]; si, sj in bytes. */
typedef void (*gather_fn)(void *dst, ptrdiff_t pitch, ptrdiff_t step, const char *src, ptrdiff_t ni, ptrdiff_t si,
                          ptrdiff_t nj, ptrdiff_t sj);
/* dst[i] = value for i < n. */
typedef void (*fill_fn)(void *dst, ptrdiff_t n, double value);

/* Packs filters b[k][j] = w[k*sk + j*sj] for j < columns, zeros up to width; returns nonzero iff all were finite. */
typedef int (*pack_fn)(void *dst, ptrdiff_t width, const char *w, ptrdiff_t rows, ptrdiff_t sk, ptrdiff_t columns,
                       ptrdiff_t sj);

enum activation { NONE, CLAMP, LEAKY_RELU, ELU, SIGMOID, TANH, SILU, GELU };

/* The end of a tile that may not be stored as it is: out = cast(f(tile + bias + residual)), any strides, any dtype. */
typedef struct {
    const void *tile; /* IN  [rows][pitch] of the compute type */
    ptrdiff_t pitch;
    int rows, columns;
    char *const *out; /* OUT [rows] */
    ptrdiff_t out_step;
    char *const *residual; /* IN  [rows] or NULL */
    ptrdiff_t residual_step;
    const void *bias; /* IN  [columns] of the compute type, or NULL */
    int activation;
    double low, high; /* the clamp, or low = the slope of leaky_relu */
} finish_args;
typedef void (*finish_fn)(const finish_args *);

typedef struct {
    int lanes;                                    /* elements a vector */
    int rows[TILE_WIDE + 1];                      /* pixels of a full tile that is 1, 2 vectors wide */
    tile_fn gemm[TILE_WIDE + 1][TILE_ROWS + 1];   /* [vectors][rows wanted]: the smallest tile that holds them */
    tile_fn depthwise[TILE_WIDE + 1][TILE_ROWS + 1];
    fill_fn fill;
    gather_fn gather[DTYPES]; /* by storage type; NULL where it is not computed in this type */
    pack_fn pack[DTYPES];
    finish_fn finish[DTYPES];
} conv_kernels;

#define DECLARE(isa, detected) extern const conv_kernels conv_kernels_##isa[COMPUTE_TYPES];
ISA_LIST(DECLARE)
#undef DECLARE
const conv_kernels *conv_kernels_of(int isa); /* by place in ISA_LIST */
