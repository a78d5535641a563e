using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests.Guests;

/// <summary>
/// A read-only disk of zeroes that keeps a list of the pages of guest memory that it writes: by what the descriptors of the guest's split ring say, read from the guest's memory by itself, and not by where the
/// library has found the buffers. It offers neither indirect descriptors nor packed rings, so that there is one way to read them, and writes every buffer to its end.
/// </summary>
internal sealed class NotingDisk : IVhostUserDevice, IDisposable
{
    internal const ulong Size = 8 << 20;

    private const int MostRequests = 64;
    private const int DescriptorSize = 16;
    private const int Next = 1;
    private const int Write = 2;

    private readonly Lock _gate = new();
    private readonly List<ulong> _pages = [];
    private GuestMemoryLease? _memory;
    private ulong _table;

    public int QueueCount => 1;

    public VirtioFeatures Features => VirtioFeatures.Version1 | (VirtioFeatures)(ulong)VirtioBlkFeatures.ReadOnly;

    public int ConfigLength => VirtioBlkConfig.ClassicSize;

    public bool ReportsAllWrites => true;

    /// <summary>How many pages were noted, the same one as often as it was written.</summary>
    internal int NotedCount
    {
        get
        {
            lock (_gate)
                return _pages.Count;
        }
    }

    /// <summary>From now on it notes what it writes.</summary>
    /// <param name="memory">The guest's memory, mapped by somebody else.</param>
    /// <param name="table">The descriptors of its ring.</param>
    internal void NoteFromNowOn(GuestMemory memory, GuestAddress table)
    {
        lock (_gate)
        {
            _memory = memory.Acquire();
            _table = table.Value;
        }
    }

    /// <summary>The pages that were noted, but for the first ones.</summary>
    internal HashSet<ulong> Noted(int without = 0)
    {
        lock (_gate)
            return [.. _pages.Skip(without)];
    }

    public bool TryReadConfig(uint offset, Span<byte> destination)
    {
        Span<byte> config = stackalloc byte[VirtioBlkConfig.ClassicSize];
        new VirtioBlkConfig { Capacity = Size / VirtioBlkRequestHeader.SectorSize }.Write(config);
        config.Slice((int)offset, destination.Length).CopyTo(destination);
        return true;
    }

    public void Process(DeviceVirtqueue queue)
    {
        for (int turn = 0; turn < MostRequests && queue.TryPop(out DescriptorChain request); turn++)
        {
            NotePages(request.Head);
            Answer(request);
            queue.Complete(request, request.Writable.Length);
        }
    }

    public void Dispose() => _memory?.Dispose();

    private static void Answer(DescriptorChain request)
    {
        uint length = request.Writable.Length - 1;
        bool isRead = request.Readable.TryRead(out VirtioBlkRequestHeader header) && header.Type == VirtioBlkRequestType.In;
        request.Writable.Slice(0, length).Fill(0);
        request.Writable.Slice(length).TryWrite((byte)(isRead ? VirtioBlkStatus.Ok : VirtioBlkStatus.Unsupported));
    }

    private void NotePages(ushort head)
    {
        lock (_gate)
        {
            if (_memory is not { } memory)
                return;
            int flags;
            do
            {
                GuestAddress at = new(_table + ((ulong)head * DescriptorSize));
                memory.TryRead(at, out ulong address).Should().BeTrue();
                memory.TryRead(new GuestAddress(at.Value + sizeof(ulong)), out ulong rest).Should().BeTrue();
                (uint length, flags, head) = ((uint)rest, (ushort)(rest >> 32), (ushort)(rest >> 48));
                if ((flags & Write) != 0)
                    NotePages(address, length);
            }
            while ((flags & Next) != 0);
        }
    }

    private void NotePages(ulong at, uint length)
    {
        for (ulong page = at / DirtyLog.PageSize; length > 0 && page <= (at + length - 1) / DirtyLog.PageSize; page++)
            _pages.Add(page);
    }
}
