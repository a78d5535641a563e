using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

[Collection(ProcessCounts.Name)]
public sealed partial class SharedMemoryTests
{
    [Fact]
    public void F17_sealed_memory_can_neither_shrink_nor_grow_nor_lose_its_seals()
    {
        using SharedMemory memory = SharedMemory.CreateSealed("sealed", 0x4000);

        Action shrink = () => RandomAccess.SetLength(memory.Descriptor, 0);
        Action grow = () => RandomAccess.SetLength(memory.Descriptor, 0x8000);

        shrink.Should().Throw<Exception>();
        grow.Should().Throw<Exception>();
        Libc.fcntl_seals(memory.Descriptor, Libc.F_ADD_SEALS, 8 /* F_SEAL_WRITE */).Should().Be(-1);
        RandomAccess.GetLength(memory.Descriptor).Should().Be(0x4000);
    }

    /// <summary>The file may be the peer's own, on a file system that the peer serves, or not: asking for the length would wait for ever.</summary>
    [SkippableFact]
    public async Task B10_a_file_whose_file_system_does_not_answer_is_looked_at_and_mapped_in_time()
    {
        using SlowFileSystem? slow = SlowFileSystem.TryMount(out string reason);
        Skip.If(slow is null, reason);
        await Task.Run(() =>
        {
            using SharedMemory memory = SharedMemory.Map(Duplicate(slow.File), 0x1000, SlowFileSystem.FileSize - 0x1000);
            FluentActions.Invoking(() => SharedMemory.Map(Duplicate(slow.File), 0x1000, SlowFileSystem.FileSize)).Should().Throw<VhostUserProtocolException>();
            FluentActions.Invoking(() => SharedMemory.Map(Duplicate(slow.File), 0, 0x1000, requireSealed: true)).Should().Throw<VhostUserProtocolException>();
            FluentActions.Invoking(() => EventNotifier.Duplicate(slow.File)).Should().Throw<ArgumentException>().WithMessage("*Regular*");
        }).InTime();
    }

    [Fact]
    public void A_received_region_at_an_odd_offset_sees_the_same_bytes()
    {
        using SharedMemory memory = SharedMemory.CreateSealed("shared", 0x4000);
        using SharedMemory window = SharedMemory.Map(Duplicate(memory), 0x1234, 0x1000);
        using GuestMemory whole = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), memory));
        using GuestMemory part = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0x1234), window));
        using GuestMemoryLease writer = whole.Acquire();
        using GuestMemoryLease reader = part.Acquire();

        writer.TryWrite(new GuestAddress(0x2000), 0xCAFEUL);
        reader.TryRead(new GuestAddress(0x2000), out ulong value).Should().BeTrue();

        value.Should().Be(0xCAFE);
    }

    [Theory]
    [InlineData(0UL, 0UL, "size 0")]
    [InlineData(0UL, 0x4001UL, "0x4000 bytes")]
    [InlineData(0x4000UL, 1UL, "0x4000 bytes")]
    [InlineData(ulong.MaxValue, 2UL, "exceeds the range of a file")]
    [InlineData(0x1000UL, ulong.MaxValue, "exceeds the range of a file")]
    [InlineData(0UL, 8UL << 40, "0x4000 bytes")]
    public void B20_B21_a_range_that_the_file_does_not_cover_is_refused(ulong offset, ulong length, string reason)
    {
        using SharedMemory memory = SharedMemory.CreateSealed("shared", 0x4000);
        ProcessCounts before = ProcessCounts.Snapshot();

        Action map = () => SharedMemory.Map(Duplicate(memory), offset, length);

        map.Should().Throw<VhostUserProtocolException>().WithMessage($"*{reason}*");
        before.AssertBack();
    }

    [Fact]
    public void B21_a_descriptor_that_can_still_shrink_is_refused_when_seals_are_required()
    {
        string path = Path.GetTempFileName();
        try
        {
            using SharedMemory file = SharedMemory.CreateFileBacked(path, 0x2000);
            using SharedMemory sealedMemory = SharedMemory.CreateSealed("ok", 0x2000);

            Action map = () => SharedMemory.Map(Duplicate(file), 0, 0x2000, requireSealed: true);

            map.Should().Throw<VhostUserProtocolException>().WithMessage("*not sealed*");
            SharedMemory.Map(Duplicate(sealedMemory), 0, 0x2000, requireSealed: true).Dispose();
            SharedMemory.Map(Duplicate(file), 0, 0x2000).Dispose();
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>A hole in it gives the page away, whatever the seals; where none is left the next touch ends the process.</summary>
    [SkippableFact]
    public void B21_memory_of_huge_pages_is_refused_when_seals_are_required()
    {
        const uint Huge = Libc.MFD_HUGETLB | Libc.MFD_HUGE_2MB | Libc.MFD_ALLOW_SEALING;
        using SafeFileHandle? file = RawDescriptors.MemoryFile(2 << 20, Huge);
        Skip.If(file is null, "this kernel has no huge pages of 2 MiB");
        Libc.fcntl_seals(file!, Libc.F_ADD_SEALS, Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW).Should().Be(0);

        Action map = () => SharedMemory.Map(Libc.Duplicate(file!), 0, 2 << 20, requireSealed: true);

        map.Should().Throw<VhostUserProtocolException>().WithMessage("*pages of 0x200000 bytes, which cannot be sealed against holes*");
    }

    [Fact]
    public void B10_what_cannot_be_memory_is_refused_and_closed()
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        foreach (string path in new[] { "/dev/null", "/proc/self", "/tmp" })
        {
            Action map = () => SharedMemory.Map(OpenAny(path), 0, 0x1000);
            map.Should().Throw<IOException>(because: path);
        }

        using (EventNotifier notifier = new())
        {
            Action map = () => SharedMemory.Map(Duplicate(notifier.Descriptor), 0, 8);
            map.Should().Throw<IOException>();
        }

        string file = Path.GetTempFileName();
        File.WriteAllBytes(file, new byte[0x1000]);
        Action readOnly = () => SharedMemory.Map(File.OpenHandle(file), 0, 0x1000);
        readOnly.Should().Throw<LinuxException>().WithMessage("mmap*");
        File.Delete(file);
        before.AssertBack();
    }

    [Fact]
    public void File_backed_memory_outlives_the_mapping()
    {
        string path = Path.GetTempFileName();
        try
        {
            using (SharedMemory file = SharedMemory.CreateFileBacked(path, 0x1000))
            using (GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), file)))
            using (GuestMemoryLease lease = memory.Acquire())
            {
                lease.TryWrite(new GuestAddress(16), 0x0102030405060708UL).Should().BeTrue();
            }

            File.ReadAllBytes(path)[16..24].Should().Equal(8, 7, 6, 5, 4, 3, 2, 1);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void A_file_that_cannot_be_as_large_is_refused_and_closed()
    {
        string path = Path.GetTempFileName();
        try
        {
            ProcessCounts before = ProcessCounts.Snapshot();
            FluentActions.Invoking(() => SharedMemory.CreateFileBacked(path, 1UL << 62)).Should().Throw<LinuxException>().WithMessage($"ftruncate({path}*");
            before.AssertBack();
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Memory_the_caller_owns_is_used_in_place_and_left_alone()
    {
        using SharedMemory ram = SharedMemory.CreateSealed("ram", 0x3000);
        ProcessCounts before = ProcessCounts.Snapshot();
        SharedMemory described = SharedMemory.FromCallerOwned(Duplicate(ram), 0x1000, 0x1000, ram.Address + 0x1000);
        using (GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0x8000_0000), described)))
        using (GuestMemoryLease lease = memory.Acquire())
        {
            ProcessCounts.Snapshot().Mappings.Should().Be(before.Mappings);
            lease.TryWrite(new GuestAddress(0x8000_0010), 7).Should().BeTrue();
        }

        described.Dispose();
        before.AssertBack();
        Marshal.ReadInt32(ram.Address + 0x1010).Should().Be(7);
    }

    [SkippableFact]
    public void Huge_pages_are_given_or_the_error_says_what_to_do()
    {
        ulong free = ulong.Parse(File.ReadLines("/proc/meminfo").First(l => l.StartsWith("HugePages_Free", StringComparison.Ordinal)).Split(':')[1].Trim(), null);
        if (free == 0)
        {
            Action create = () => SharedMemory.CreateSealed("huge", 4 << 20, HugePages.TwoMegabytes);
            create.Should().Throw<LinuxException>().WithMessage("*2 are needed*vm.nr_hugepages*");
            return;
        }

        using SharedMemory memory = SharedMemory.CreateSealed("huge", 1, HugePages.TwoMegabytes);
        memory.Length.Should().Be(2 << 20);
    }

    private static SafeFileHandle Duplicate(SharedMemory memory) => Duplicate(memory.Descriptor);

    private static SafeFileHandle Duplicate(SafeHandle handle) => Libc.Duplicate(handle);

    /// <summary>Opens what File.OpenHandle would refuse, directories among it.</summary>
    private static SafeFileHandle OpenAny(string path) => open(path, 0);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle open(string path, int flags);
}
