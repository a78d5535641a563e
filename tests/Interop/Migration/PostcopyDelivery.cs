using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Migration;

/// <summary>A disk of a guest whose memory comes only as far as a test sends it.</summary>
internal sealed class PostcopyDelivery : IAsyncDisposable
{
    private readonly TaskCompletionSource<GuestAddress> _asked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly bool _sendsRing;

    private PostcopyDelivery(PostcopyDisk guest, GuestMemory here, bool sendsRing)
    {
        Source = new PageSource(guest.Source, seed: 1);
        Migration = new PostcopyMigration(here, AskAsync);
        Disk = guest.NewDisk(out MemoryStorage storage);
        Storage = storage;
        _sendsRing = sendsRing;
    }

    public PageSource Source { get; }

    public PostcopyMigration Migration { get; }

    public PostcopyPair Pair { get; private set; } = null!;

    public BlockDevice Disk { get; }

    public MemoryStorage Storage { get; }

    public FrontendVring Ring { get; private set; } = null!;

    /// <summary>The ring is there, and its first request waits for its memory.</summary>
    public static Task<PostcopyDelivery> WithRingAloneAsync(PostcopyDisk guest, GuestMemory here, VhostUserBackendOptions options) =>
        StartAsync(new PostcopyDelivery(guest, here, sendsRing: true), guest, here, options);

    /// <summary>The ring waits for its own memory.</summary>
    public static Task<PostcopyDelivery> WithNothingAsync(PostcopyDisk guest, GuestMemory here, VhostUserBackendOptions options) =>
        StartAsync(new PostcopyDelivery(guest, here, sendsRing: false), guest, here, options);

    /// <summary>The back-end is gone, all memory comes, and another one goes on: what becomes of memory and disk is what would have become of them without the first.</summary>
    public async Task ExpectNextGoesOnAsync(PostcopyDisk guest, GuestMemory here)
    {
        Source.SendRest(Migration);
        await Migration.Completion.InTime();
        BlockDevice disk = guest.NewDisk(out MemoryStorage storage);
        await using (PostcopyPair next = await PostcopyPair.StartAsync(disk, VirtioFeatures.Version1))
        {
            await Migration.JoinAsync(next.Frontend).InTime();
            await next.Frontend.SetMemoryAsync(here).InTime();
            FrontendVring ring = await next.Frontend.StartVringAsync(guest.Ring(next.Kick)).InTime();
            await PostcopyDisk.AllDoneAsync(disk);
            await ring.StopAsync().InTime();
            await Migration.EndAsync().InTime();
        }

        await ExpectOutcomeAsync(guest, here, storage);
    }

    /// <summary>All memory has come, so that all requests are carried out, as if it had been there.</summary>
    public async Task ExpectAllDoneAsync(PostcopyDisk guest, GuestMemory here)
    {
        await PostcopyDisk.AllDoneAsync(Disk);
        await Ring.StopAsync().InTime();
        await Migration.EndAsync().InTime();
        await ExpectOutcomeAsync(guest, here, Storage);
    }

    /// <summary>Memory and disk are what they are when all memory is there from the beginning.</summary>
    public static async Task ExpectOutcomeAsync(PostcopyDisk guest, GuestMemory here, MemoryStorage storage)
    {
        (byte[] memory, byte[] contents) = await guest.ExpectedAsync();
        guest.OutcomeIn(here).AsSpan().SequenceEqual(memory).Should().BeTrue("each byte of memory is what it would have been");
        PostcopyDisk.BytesOf(storage).AsSpan().SequenceEqual(contents).Should().BeTrue("each byte of the disk is what it would have been");
    }

    public async ValueTask DisposeAsync()
    {
        await Migration.DisposeAsync().InTime();
        await Pair.DisposeAsync();
        Source.Dispose();
    }

    private static async Task<PostcopyDelivery> StartAsync(PostcopyDelivery delivery, PostcopyDisk guest, GuestMemory here, VhostUserBackendOptions options)
    {
        delivery.Pair = await PostcopyPair.StartAsync(delivery.Disk, VirtioFeatures.Version1, options);
        await delivery.Migration.JoinAsync(delivery.Pair.Frontend).InTime();
        await delivery.Pair.Frontend.SetMemoryAsync(here).InTime();
        delivery.Ring = await delivery.Pair.Frontend.StartVringAsync(guest.Ring(delivery.Pair.Kick)).InTime();
        await delivery._asked.Task.InTime();
        return delivery;
    }

    private ValueTask AskAsync(GuestAddress address, ulong length, CancellationToken cancellationToken)
    {
        bool isRing = address.Value < PostcopyDisk.DataAt;
        if (isRing && _sendsRing)
            Source.Send(Migration, (address, length));
        else
            _asked.TrySetResult(address);
        return ValueTask.CompletedTask;
    }
}
