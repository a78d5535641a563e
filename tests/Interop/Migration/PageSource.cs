using System.Threading.Channels;
using Vhost.Frontend;
using Vhost.Protocol;

namespace Vhost.Interop.Tests.Migration;

/// <summary>
/// Where a guest comes from: sends pages that are asked for late and out of order, others in between that nobody has asked for, and some twice. The garbage collector runs before many of them.
/// </summary>
internal sealed class PageSource : IDisposable
{
    private readonly GuestMemoryLease _memory;
    private readonly Random _random;
    private readonly Channel<(GuestAddress Address, ulong Length)> _asked = Channel.CreateUnbounded<(GuestAddress, ulong)>();

    public PageSource(GuestMemory memory, int seed)
    {
        _memory = memory.Acquire();
        _random = new Random(seed);
    }

    public long Sent { get; private set; }

    public ValueTask AskAsync(GuestAddress address, ulong length, CancellationToken cancellationToken) =>
        _asked.Writer.WriteAsync((address, length), cancellationToken);

    /// <summary>Sends what is asked for until that ends, the last that came first; with every eighth page one that was not.</summary>
    public async Task SendAskedAsync(PostcopyMigration migration, CancellationToken cancellationToken)
    {
        Stack<(GuestAddress Address, ulong Length)> late = [];
        Queue<(GuestAddress Address, ulong Length)> others = new(AllPages());
        while (await MayGoOnAsync(late, cancellationToken))
        {
            await Task.Delay(_random.Next(3), CancellationToken.None);
            while (_asked.Reader.TryRead(out (GuestAddress, ulong) asked))
                late.Push(asked);
            if (late.TryPop(out (GuestAddress Address, ulong Length) page))
                Send(migration, page);
            if (_random.Next(8) == 0 && others.TryDequeue(out (GuestAddress Address, ulong Length) other))
                Send(migration, other);
            if (_random.Next(4) == 0)
                GC.Collect(_random.Next(3));
        }
    }

    /// <summary>Sends all that has not arrived, and some of what has.</summary>
    public void SendRest(PostcopyMigration migration)
    {
        foreach ((GuestAddress Address, ulong Length) page in AllPages())
            Send(migration, page);
    }

    public void Send(PostcopyMigration migration, (GuestAddress Address, ulong Length) page)
    {
        byte[] bytes = new byte[page.Length];
        _memory.TryCopyTo(page.Address, bytes).Should().BeTrue();
        migration.Place(page.Address, bytes);
        Sent++;
    }

    public void Dispose() => _memory.Dispose();

    private async Task<bool> MayGoOnAsync(Stack<(GuestAddress Address, ulong Length)> late, CancellationToken cancellationToken)
    {
        try
        {
            return late.Count > 0 || await _asked.Reader.WaitToReadAsync(cancellationToken);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    private (GuestAddress Address, ulong Length)[] AllPages()
    {
        (GuestAddress, ulong)[] pages =
        [
            .. from region in _memory.Memory.Regions
               from page in Enumerable.Range(0, (int)(region.Size / 4096))
               select (new GuestAddress(region.GuestAddress.Value + ((ulong)page * 4096)), 4096UL),
        ];
        _random.Shuffle(pages);
        return pages;
    }
}
