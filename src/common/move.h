/* The function types of move.inc.h, which every driver uses. */
#pragma once
#include <stddef.h>

/* A dense copy in the compute type of a strided plane, every value `repeat` times: dst[i*pitch + j*repeat + q] =
 * src[i*si + j*sj] for q < repeat; si, sj in bytes. */
typedef void (*gather_fn)(void *dst, ptrdiff_t pitch, ptrdiff_t repeat, const char *src, ptrdiff_t ni, ptrdiff_t si,
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
