using System.Collections.Concurrent;
using System.Threading.Channels;
using Vhost.Frontend;
using Vhost.Protocol;

namespace LiveMigration;

/// <summary>What postcopy leaves behind on the host that the guest has left: it sends each page once, those that are asked for first. Between two hosts there is a connection here.</summary>
internal sealed class PageSource(GuestRam ram) : IAsyncDisposable
{
    public static readonly ulong PageSize = (ulong)Environment.SystemPageSize;

    private readonly Channel<GuestAddress> _asked = Channel.CreateUnbounded<GuestAddress>();
    private readonly ConcurrentDictionary<GuestAddress, bool> _sent = [];
    private PostcopyMigration? _there;
    private Task _answering = Task.CompletedTask;

    /// <summary>Pages that were sent and nobody had asked for.</summary>
    public int Pushed { get; private set; }

    public void Begin(PostcopyMigration there)
    {
        _there = there;
        _answering = AnswerAsync();
    }

    /// <summary>Somebody there waits for a page.</summary>
    public ValueTask AskAsync(GuestAddress page, ulong length, CancellationToken stop) => _asked.Writer.WriteAsync(page, stop);

    /// <summary>Sends pages that nobody has asked for until now; those that are asked for meanwhile overtake them.</summary>
    public Task PushAsync(IEnumerable<GuestAddress> pages) => Task.Run(() =>
    {
        foreach (GuestAddress page in pages)
            Pushed += Send(page) ? 1 : 0;
    });

    public async ValueTask DisposeAsync()
    {
        _asked.Writer.TryComplete();
        await _answering;
    }

    private async Task AnswerAsync()
    {
        await foreach (GuestAddress page in _asked.Reader.ReadAllAsync())
            Send(page);
    }

    private bool Send(GuestAddress page)
    {
        if (!_sent.TryAdd(page, true))
            return false;
        byte[] bytes = new byte[PageSize];
        ram.Read(page.Value, bytes);
        _there!.Place(page, bytes);
        return true;
    }
}
