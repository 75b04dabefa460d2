/* The same row by what a C program has at hand on a Cortex-M4F: expf and logf of newlib, CMSIS-DSP, and this library.
 * Prints a line of each row and each way: error of the value relative to `double`, instructions an element. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>

#include "arm_math.h"
#include "densekd.h"

#define N 512
#define TAU 4.0F

extern uint32_t stack_top;
void start(void);

static float teacher[N], student[N], p[N], q[N], gradient[N];

static void call(uint32_t operation, const void *block)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void leave(uint32_t status)
{
    const uint32_t block[2] = {0x20026U, status};
    for (;;) {
        call(0x20U, block);
    }
}

/* The divergence as its definition reads, with everything in double. */
static double reference(void)
{
    double top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, kl = 0;
    int i;
    for (i = 0; i < N; i++) {
        top[0] = fmax(top[0], teacher[i]);
        top[1] = fmax(top[1], student[i]);
    }
    for (i = 0; i < N; i++) {
        sum[0] += exp((teacher[i] - top[0]) / TAU);
        sum[1] += exp((student[i] - top[1]) / TAU);
    }
    for (i = 0; i < N; i++) {
        const double a = (teacher[i] - top[0]) / TAU - log(sum[0]);
        const double b = (student[i] - top[1]) / TAU - log(sum[1]);
        kl += exp(a) * (a - b);
    }
    return kl;
}

static void softmax(const float *x, float *y)
{
    float top = x[0], sum = 0.0F;
    int i;
    for (i = 1; i < N; i++) {
        top = x[i] > top ? x[i] : top;
    }
    for (i = 0; i < N; i++) {
        y[i] = expf((x[i] - top) / TAU);
        sum += y[i];
    }
    for (i = 0; i < N; i++) {
        y[i] /= sum;
    }
}

static void pull(void)
{
    int i;
    for (i = 0; i < N; i++) {
        gradient[i] = (q[i] - p[i]) / TAU;
    }
}

static float plain(void)
{
    float kl = 0.0F;
    int i;
    softmax(teacher, p);
    softmax(student, q);
    for (i = 0; i < N; i++) {
        kl += p[i] * (logf(p[i]) - logf(q[i]));
    }
    pull();
    return kl;
}

/* CMSIS-DSP has no softmax of floats: its maximum, exponentials, sums and scaling, then its divergence. */
static void cmsis_softmax(float *x, float *y)
{
    float top, sum;
    uint32_t at;
    arm_max_f32(x, N, &top, &at);
    arm_offset_f32(x, -top, y, N);
    arm_scale_f32(y, 1.0F / TAU, y, N);
    arm_vexp_f32(y, y, N);
    arm_mean_f32(y, N, &sum);
    arm_scale_f32(y, 1.0F / (sum * N), y, N);
}

static float cmsis(void)
{
    cmsis_softmax(teacher, p);
    cmsis_softmax(student, q);
    pull();
    return arm_kullback_leibler_f32(p, q, N);
}

static float ours(void)
{
    float value = NAN;
    densekd_row_kl_gradient_f32(teacher, student, N, TAU, 1.0F, gradient, &value);
    return value;
}

static float uniform(void)
{
    static uint32_t state = 1;
    state = state * 1664525U + 1013904223U;
    return (float)(state >> 20) / 512.0F - 4.0F;
}

/* 24 bits of the processor's clock; a tick of 40 ns is 40 instructions. */
static volatile uint32_t *const systick = (volatile uint32_t *)0xE000E010U;

static void measure(const char *row, const char *way, float (*divergence)(void))
{
    const double want = reference();
    const uint32_t from = systick[2];
    const double got = divergence();
    const uint32_t ticks = (from - systick[2]) & 0xFFFFFFU;
    char line[96];
    snprintf(line, sizeof line, "%s, %s: KL %.3e off by %.1e, %lu\n", row, way, want, fabs(got / want - 1),
             (unsigned long)(ticks * 40U / N));
    call(4, line);
}

static void all(const char *row)
{
    measure(row, "plain C", plain);
    measure(row, "CMSIS-DSP", cmsis);
    measure(row, "densekd", ours);
}

static void run(void)
{
    int i;
    for (i = 0; i < N; i++) {
        teacher[i] = uniform();
        student[i] = uniform();
    }
    all("unrelated");
    for (i = 0; i < N; i++) {
        student[i] = teacher[i] + 0.001F * student[i];
    }
    all("near");
    for (i = 0; i < N; i++) {
        student[i] = uniform();
    }
    teacher[7] = 500.0F;
    student[9] = 400.0F;
    all("saturated");
}

void start(void)
{
    volatile uint32_t *access = (volatile uint32_t *)0xE000ED88U;
    *access |= 0xFU << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    systick[1] = 0xFFFFFFU;
    systick[2] = 0;
    systick[0] = 5;
    run();
    leave(0);
}

static void fault(void)
{
    leave(99);
}

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[3])(void);
} vectors = {&stack_top, {start, fault, fault}};
