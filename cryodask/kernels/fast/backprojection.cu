// Back-projection of filtered lines, one voxel a thread: see cryodask.kernels.backprojection for what it computes.
//
// REAL is float or double. Positions are computed in double precision, as on the host: at two thousand samples a float
// would leave four digits of the fraction. Threads along x read neighbouring samples of a line; nothing is shared between
// threads, so each voxel adds the tilts in their order and a slab of rows has the bits of the whole volume.

extern "C" __global__ void backproject(
    const REAL* __restrict__ lines,       // (n_tilts, ny, n_samples)
    const REAL* __restrict__ weights,     // (n_tilts)
    const double* __restrict__ cosines,   // (n_tilts), samples a voxel along x
    const double* __restrict__ sines,     // (n_tilts), samples a voxel along z
    const int n_tilts,
    const int n_samples,
    const double origin,                  // position of the volume's centre, in samples
    const double centre_z,
    const double centre_x,
    const int nz,
    const int ny,
    const int nx,
    REAL* __restrict__ volume)            // (nz, ny, nx)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    const int z = blockIdx.z * blockDim.z + threadIdx.z;
    if (x >= nx || y >= ny || z >= nz) return;

    REAL sum = 0;
    for (int tilt = 0; tilt < n_tilts; ++tilt) {
        const double position = origin + (z - centre_z) * sines[tilt] + (x - centre_x) * cosines[tilt];
        const double below = floor(position);
        const long long lower = (long long)below;
        if (lower < -1 || lower >= n_samples) continue;  // the detector sees nothing beyond its edges
        const REAL* line = lines + ((long long)tilt * ny + y) * n_samples;
        const REAL fraction = (REAL)(position - below);
        const REAL near_value = lower >= 0 ? line[lower] : (REAL)0;
        const REAL far_value = lower + 1 < n_samples ? line[lower + 1] : (REAL)0;
        sum += weights[tilt] * ((1 - fraction) * near_value + fraction * far_value);
    }
    volume[((long long)z * ny + y) * nx + x] = sum;
}
