/* A stand-in for NVIDIA's management library: as many devices as STAND_IN_GPUS says, each of 16 GiB, and nothing behind
 * them. With it the programs that start one worker a GPU run where there is no GPU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOT_FOUND 6
#define BYTES (16ULL << 30)

typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2;

static unsigned devices(void) {
    const char *count = getenv("STAND_IN_GPUS");
    return count ? (unsigned)atoi(count) : 0;
}

/* A handle is the device's index plus one, so that none is NULL. */
static unsigned index_of(const void *handle) { return (unsigned)((const char *)handle - (const char *)0) - 1; }

static int handle_of(unsigned index, void **handle) {
    if (index >= devices()) return NOT_FOUND;
    *handle = (char *)0 + index + 1;
    return 0;
}

int nvmlInit_v2(void) { return 0; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == NOT_FOUND ? "no such device" : "stand-in"; }

int nvmlDeviceGetCount_v2(unsigned *count) { *count = devices(); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { return handle_of(index, handle); }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    const char *digits = strrchr(uuid, '-');
    return handle_of(digits ? (unsigned)atoi(digits + 1) : 0, handle);
}
int nvmlDeviceGetIndex(void *device, unsigned *index) { *index = index_of(device); return 0; }
int nvmlDeviceGetName(void *device, char *text, unsigned size) { (void)device; snprintf(text, size, "stand-in"); return 0; }
int nvmlDeviceGetUUID(void *device, char *text, unsigned size) {
    snprintf(text, size, "GPU-00000000-0000-0000-0000-%012u", index_of(device));
    return 0;
}
int nvmlDeviceGetMemoryInfo(void *device, memory_v1 *memory) {
    (void)device;
    *memory = (memory_v1){BYTES, BYTES, 0};
    return 0;
}
int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2 *memory) {
    (void)device;
    memory->total = memory->free = BYTES;
    memory->reserved = memory->used = 0;
    return 0;
}
int nvmlDeviceGetCpuAffinity(void *device, unsigned words, unsigned long *set) {
    (void)device;
    memset(set, 0xff, words * sizeof *set);
    return 0;
}
int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *later) { (void)device; *now = *later = 0; return 0; }
int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) { (void)device; *count = 0; return 0; }
int nvmlDeviceGetUtilizationRates(void *device, unsigned *rates) { (void)device; rates[0] = rates[1] = 0; return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, void *found) {
    (void)device;
    (void)found;
    *count = 0;
    return 0;
}
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "580.00"); return 0; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return 0; }
