using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests.Memory;

/// <summary>A range of addresses that is the back-end's to fill, and nobody else's to be hit by.</summary>
[Collection(ProcessCounts.Name)]
public sealed class AddressReservationTests : IDisposable
{
    private const long Pattern = 0x0123_4567_89ab_cdef;

    private static readonly ulong Page = (ulong)Environment.SystemPageSize;

    private readonly ProcessCounts _before = ProcessCounts.Snapshot();
    private readonly SharedMemory _file = SharedMemory.CreateSealed("file", 4 * Page);

    public void Dispose()
    {
        _file.Dispose();
        _before.AssertBack();
    }

    [Fact]
    public void A_file_is_mapped_once_over_what_was_there()
    {
        using AddressReservation range = AddressReservation.Reserve(8 * Page);
        using SharedMemory second = SharedMemory.CreateSealed("second", Page);
        int mappings = ProcessCounts.Snapshot().Mappings;
        Write(_file.Address, 1);
        Write(_file.Address + (nint)(3 * Page), 4);
        Write(second.Address, 9);

        range.Map(2 * Page, _file.Descriptor, 0, 4 * Page, writable: true);
        (Read(range, 2), Read(range, 5)).Should().Be((1, 4));
        ProcessCounts.Snapshot().Mappings.Should().Be(mappings + 1);

        range.Map(5 * Page, second.Descriptor, 0, Page, writable: false);
        (Read(range, 2), Read(range, 5)).Should().Be((1, 9));
        ProcessCounts.MappedIn(range.Address, 8 * Page).Should().Be(2);
        range.Clear(0, 8 * Page);
        ProcessCounts.MappedIn(range.Address, 8 * Page).Should().Be(0);
    }

    [Fact]
    public void A_file_that_refuses_leaves_what_is_there()
    {
        using AddressReservation range = AddressReservation.Reserve(4 * Page);
        range.Map(0, _file.Descriptor, 0, 4 * Page, writable: true);
        Write(_file.Address, 7);
        using SafeFileHandle readOnly = File.OpenHandle("/proc/self/exe");
        range.Invoking(one => one.Map(0, readOnly, 0, Page, writable: true)).Should().Throw<LinuxException>();
        Read(range, 0).Should().Be(7);
        Live(range, 0).Should().BeTrue();
    }

    [Fact]
    public void A_gap_that_the_kernel_leaves_is_reserved_again_and_takes_the_next_file()
    {
        using AddressReservation range = AddressReservation.Reserve(8 * Page);
        range.Refusal = static (at, length) => Libc.munmap(at, length).Should().Be(0);

        range.Invoking(one => one.Map(2 * Page, _file.Descriptor, 0, 4 * Page, writable: true)).Should().Throw<LinuxException>();

        Take(range.Address + (nint)(3 * Page), Page).Should().Be(Libc.MAP_FAILED, "it is the range's again");
        range.Refusal = null;
        Write(_file.Address, 3);
        range.Map(2 * Page, _file.Descriptor, 0, 4 * Page, writable: true);
        Read(range, 2).Should().Be(3);
    }

    [Fact]
    public void F09_memory_that_came_into_a_gap_is_never_mapped_over_nor_cleared_nor_unmapped()
    {
        AddressReservation range = AddressReservation.Reserve(8 * Page);
        nint stranger = 0;
        range.Refusal = (at, length) =>
        {
            Libc.munmap(at, length).Should().Be(0);
            stranger = Take(at + (nint)Page, Page);
        };
        range.Invoking(one => one.Map(2 * Page, _file.Descriptor, 0, 4 * Page, writable: true)).Should().Throw<LinuxException>();
        stranger.Should().Be(range.Address + (nint)(3 * Page));
        Write(stranger, Pattern);
        range.Refusal = null;

        foreach ((ulong first, ulong pages) in new[] { (2UL, 4UL), (3UL, 1UL), (0UL, 3UL), (5UL, 3UL) })
        {
            range.Invoking(one => one.Map(first * Page, _file.Descriptor, 0, Math.Min(pages, 4) * Page, writable: true))
                .Should().Throw<LinuxException>().WithMessage("*has lost a part*");
        }

        range.Map(0, _file.Descriptor, 0, 2 * Page, writable: true);
        range.Map(6 * Page, _file.Descriptor, 0, 2 * Page, writable: true);
        range.Clear(0, 8 * Page);
        ProcessCounts.MappedIn(range.Address, 8 * Page).Should().Be(0);
        Marshal.ReadInt64(stranger).Should().Be(Pattern);
        range.Dispose();
        Marshal.ReadInt64(stranger).Should().Be(Pattern);
        Libc.munmap(stranger, (nuint)Page).Should().Be(0);
    }

    /// <summary>Memory of somebody else in this process, there or nowhere.</summary>
    private static nint Take(nint at, ulong length) => Libc.mmap(
        at, (nuint)length, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_FIXED_NOREPLACE, -1, 0);

    private static void Write(nint at, long value) => Marshal.WriteInt64(at, value);

    private static long Read(AddressReservation range, ulong page) => Marshal.ReadInt64(range.Address + (nint)(page * Page));

    private bool Live(AddressReservation range, ulong page)
    {
        Write(_file.Address + (nint)(page * Page), Pattern);
        return Read(range, page) == Pattern;
    }
}
