using System.Globalization;
using System.Runtime.InteropServices;
using Vhost.Protocol;

namespace Vhost.Tests.Support;

/// <summary>
/// Guest memory of which every region stands between pages that nobody may touch: an access outside ends the process at once, instead of finding what happens to lie
/// there.
/// </summary>
public sealed class GuardedRam : IDisposable
{
    /// <summary>How many descriptors each test with rewritten memory takes: VHOST_TEST_DESCRIPTORS, or a number that takes moments.</summary>
    public static long Descriptors { get; } =
        long.TryParse(Environment.GetEnvironmentVariable("VHOST_TEST_DESCRIPTORS"), CultureInfo.InvariantCulture, out long said) ? said : 200_000;

    private const nuint Guard = 1 << 20;
    private const int NoAccess = 0;
    private const int ReadWrite = 3;
    private const int PrivateAnonymousNoReserve = 0x4022;
    private const int SharedFixed = 0x11;

    private readonly List<(nint Start, nuint Length)> _reserved = [];

    /// <summary>Makes the memory.</summary>
    /// <param name="regions">Guest address and size of each region, multiples of a page.</param>
    public GuardedRam(params ReadOnlySpan<(ulong At, ulong Size)> regions)
    {
        List<GuestMemoryRegion> list = [];
        foreach ((ulong at, ulong size) in regions)
            list.Add(new GuestMemoryRegion(new GuestAddress(at), Map(size), new UserAddress(at + GuestRam.UserOffset)));
        Memory = GuestMemory.Create([.. list]);
        list.ForEach(region => region.Memory.Dispose()); // the table holds it from here on
    }

    public GuestMemory Memory { get; }

    public void Dispose()
    {
        Memory.Dispose();
        if (!Memory.Released.IsCompletedSuccessfully)
            return; // somebody is still at it, in a test that has failed
        foreach ((nint start, nuint length) in _reserved)
            munmap(start, length).Should().Be(0);
    }

    private SharedMemory Map(ulong size)
    {
        using SharedMemory file = SharedMemory.CreateSealed("guarded-ram", size);
        nuint length = (nuint)size + (2 * Guard);
        nint start = mmap(0, length, NoAccess, PrivateAnonymousNoReserve, -1, 0);
        start.Should().NotBe(-1);
        _reserved.Add((start, length));
        nint inside = start + (nint)Guard;
        mmap(inside, (nuint)size, ReadWrite, SharedFixed, (int)file.Descriptor.DangerousGetHandle(), (nint)file.DescriptorOffset).Should().Be(inside);
        return SharedMemory.FromCallerOwned(file.Descriptor, file.DescriptorOffset, size, inside);
    }

    [DllImport("libc", SetLastError = true)]
    private static extern nint mmap(nint address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc", SetLastError = true)]
    private static extern int munmap(nint address, nuint length);
}
