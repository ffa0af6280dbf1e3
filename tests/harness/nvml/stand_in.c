/* A libnvidia-ml.so.1 for machines without a GPU: two devices, which behave as the file named in NVML_STAND_IN says.
 * Its first letter: k well, h hang and heed no SIGTERM, l lie, x raise XID 79 once, c crash, g lose device 1, e be lost, n have no driver,
 * u have uncorrectable errors and a row that can't be remapped, w be too warm.
 * Each start adds an s to the file NVML_STAND_IN.log, and each SIGTERM not heeded a t.
 * Signatures are those of nvml.h. Left out on purpose, as by a driver before 535: ...ClocksEventReasons. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, NOT_SUPPORTED = 3, TIMEOUT = 10, IS_LOST = 15, DRIVER_NOT_LOADED = 9 };
typedef struct { int index; } device;
static device devices[2] = {{0}, {1}};
static int xids;

static char mode(void) {
    const char *name = getenv("NVML_STAND_IN");
    FILE *file = name ? fopen(name, "r") : NULL;
    int letter = file ? fgetc(file) : 'k';
    if (file) fclose(file);
    return (char)letter;
}
static void note(const char *letter) {
    const char *name = getenv("NVML_STAND_IN");
    char path[4096];
    snprintf(path, sizeof path, "%s.log", name ? name : "/dev/null");
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (file >= 0 && write(file, letter, 1) == 1) close(file);
}
static void ignore(int number) { (void)number; note("t"); }
#define LYING (mode() == 'l')
#define LOST_OR(call) { if (mode() == 'e') return IS_LOST; call; return OK; }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    note("s");
    return mode() == 'n' ? DRIVER_NOT_LOADED : OK;
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    if (mode() == 'h') { signal(SIGTERM, ignore); for (;;) pause(); }
    if (mode() == 'c') abort();
    *count = mode() == 'g' ? 1 : 2;
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **handle) { *handle = &devices[index]; return OK; }
int nvmlDeviceGetUUID(device *d, char *text, unsigned size) {
    snprintf(text, size, "GPU-%d%d%d%d0000-stand-in", d->index, d->index, d->index, d->index);
    return OK;
}
int nvmlDeviceGetName(device *d, char *text, unsigned size) {
    (void)d;
    snprintf(text, size, "%s", LYING ? "\xff\xfe" : "Stand-in");
    return OK;
}
int nvmlDeviceGetMemoryInfo(device *d, unsigned long long m[3]) /* total, free, used */
    LOST_OR(m[0] = 8000000000ull; m[2] = LYING ? ~0ull : 3000000000ull + d->index; m[1] = m[0] - m[2])
int nvmlDeviceGetUtilizationRates(device *d, unsigned rates[2]) /* gpu, memory */
    LOST_OR((void)d; rates[0] = LYING ? 4000 : 75; rates[1] = 50)
int nvmlDeviceGetTemperature(device *d, int sensor, unsigned *celsius)
    LOST_OR((void)d; (void)sensor; *celsius = LYING ? 0xffffffffu : mode() == 'w' ? 93 : 61)
int nvmlDeviceGetTemperatureThreshold(device *d, int which, unsigned *celsius)
    LOST_OR((void)d; (void)which; *celsius = LYING ? 0 : 94)
int nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned *milliwatts) LOST_OR((void)d; *milliwatts = LYING ? 0 : 300000)
int nvmlDeviceGetPowerUsage(device *d, unsigned *milliwatts) LOST_OR((void)d; *milliwatts = LYING ? 0xffffffffu : 250500)
int nvmlDeviceGetCurrentClocksThrottleReasons(device *d, unsigned long long *bits) LOST_OR((void)d; *bits = mode() == 'w' ? 0x44 : 0x4)
int nvmlDeviceGetTotalEccErrors(device *d, int type, int counter, unsigned long long *count)
    LOST_OR((void)d; (void)counter; *count = type == 0 ? 12 : mode() == 'u' ? 3 : 1)
int nvmlDeviceGetRemappedRows(device *d, unsigned *corrected, unsigned *not, unsigned *pending, unsigned *failed) {
    if (d->index == 1) return NOT_SUPPORTED;
    LOST_OR(*corrected = 2; *not = mode() == 'u' ? 2 : 1; *pending = 0; *failed = mode() == 'u')
}
int nvmlEventSetCreate(void **set) { *set = &xids; return OK; }
int nvmlDeviceRegisterEvents(device *d, unsigned long long types, void *set) { (void)d; (void)types; (void)set; return OK; }
int nvmlEventSetWait_v2(void *set, void *event, unsigned ms) {
    (void)set;
    if (mode() == 'x' && xids++ == 0) {
        struct { device *d; unsigned long long type, data; unsigned a, b; } raised = {&devices[0], 8, 79, 0, 0};
        memcpy(event, &raised, sizeof raised);
        return OK;
    }
    usleep(ms * 1000);
    return TIMEOUT;
}
