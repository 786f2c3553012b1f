/* What the benches of kernels share: kernels_<driver>.c runs every kernel of src/<driver> of every ISA of this machine,
 * for every type, against scalar code, canaries around all that is written.
 *
 *     kernels          check everything; a line for each kernel; exit status 1 if one is wrong */
#pragma once
#include "kernels.h"
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[] = {"f32", "f64", "i32", "f16", "bf16"};
static const int sizes[] = {4, 8, 4, 2, 2};
static uint64_t state = 88172645463325252u;
static int failures;
#define BUFFER static _Alignas(64) char

static uint32_t draw(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 32);
}
static int between(int low, int high) { return low + (int)(draw() % (uint32_t)(high - low + 1)); }

static void expect(int right, const char *isa, const char *what, const char *type, const char *detail, double a,
                   double b)
{
    if (!right && failures++ < 20)
        printf("WRONG %s_%s_%s %s: %.17g, not %.17g\n", what, type, isa, detail, a, b);
}

/* ---- one element of any type, by definitions of its own ------------------------------------------------------- */

static double bfloat_value(uint16_t bits)
{
    uint32_t u = (uint32_t)bits << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

/* To nearest, ties to even: nearbyint at the place of the last of bfloat16's eight bits. */
static uint16_t bfloat_bits(float f)
{
    int exponent;
    if (f - f == 0 && f != 0) {
        frexpf(f, &exponent);
        double unit = ldexp(1, exponent - 8 < -133 ? -133 : exponent - 8);
        f = (float)(nearbyint(f / unit) * unit);
    }
    uint32_t u;
    memcpy(&u, &f, 4);
    return (uint16_t)(u >> 16 | (f != f ? 0x40 : 0));
}

static double get(int type, const void *p)
{
    _Float16 h;
    uint16_t b;
    switch (type) {
    case F32: return *(const float *)p;
    case F64: return *(const double *)p;
    case I32: return *(const int32_t *)p;
    case F16: memcpy(&h, p, 2); return (double)h;
    default: memcpy(&b, p, 2); return bfloat_value(b);
    }
}

static void put(int type, void *p, double value)
{
    _Float16 h;
    uint16_t b;
    switch (type) {
    case F32: *(float *)p = (float)value; break;
    case F64: *(double *)p = value; break;
    case I32: *(int32_t *)p = (int32_t)(uint32_t)(int64_t)value; break;
    case F16: h = (_Float16)(float)value, memcpy(p, &h, 2); break;
    default: b = bfloat_bits((float)value), memcpy(p, &b, 2);
    }
}

static int same(double a, double b) { return a == b || (a != a && b != b); }

/* A buffer whose bytes tell where nothing was written: CANARY everywhere, and `room` bytes of it on both sides. */
#define CANARY 0xA5
#define ROOM 256
static char *canaries(char *block, size_t bytes)
{
    memset(block, CANARY, bytes + 2 * ROOM);
    return block + ROOM;
}
static int untouched(const char *from, const char *to)
{
    for (; from < to; from++)
        if (*(const unsigned char *)from != CANARY)
            return 0;
    return 1;
}

/* Integers wrap: any will do; of floats, small integers make every sum exact. */
static void fill_with(int type, char *p, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++)
        put(type, p + i * sizes[type], type == I32 ? (int32_t)draw() : between(-3, 3));
}
static double clamped(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

/* dst[i*di + j*dj] is src[i*si + j*sj], steps in bytes, di >= nj*dj; and nothing else of block was written. */
__attribute__((unused)) static void expect_moved(const char *isa, const char *what, int storage, const char *block,
                                                 size_t bytes, const char *dst, ptrdiff_t di, ptrdiff_t dj,
                                                 const char *src, int ni, ptrdiff_t si, int nj, ptrdiff_t sj)
{
    const int type = compute_type(storage);
    const char *last = block;
    for (int i = 0; i < ni; i++)
        for (int j = 0; j < nj; j++) {
            char right[8];
            const char *found = dst + i * di + j * dj;
            put(type, right, get(storage, src + i * si + j * sj));
            expect(same(get(type, found), get(type, right)), isa, what, type_names[storage], "value", get(type, found),
                   get(type, right));
            expect(untouched(last, found), isa, what, type_names[storage], "wrote between", i, j);
            last = found + sizes[type];
        }
    expect(untouched(last, block + bytes), isa, what, type_names[storage], "wrote beside", ni, nj);
}

static const char *const isa_names[] = {
#define NAME_OF(isa, ...) #isa,
    ISA_LIST(NAME_OF)};
static int isa_detected(int isa)
{
    const int detected[] = {
#define DETECTED(isa, detected, ...) (detected) != 0,
        ISA_LIST(DETECTED)};
    return detected[isa];
}
/* The registry's ISAs double a vector's bytes, from 16 on. */
static int lanes_of(int isa, int type) { return (16 << isa) / sizes[type]; }
#define ISAS ((int)(sizeof isa_names / sizeof *isa_names))
