using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Runs one case after the other, each with the next connection of the front-end.</summary>
internal sealed class FrontendExamination(FrontendSuiteOptions options, VhostUserListener listener) : IAsyncDisposable
{
    private static readonly FrontendCase _settling = new(new("settling", "", "", "", ConformanceLevel.Should), static peer => peer.ServedAsync());

    private readonly Patience _patience = new(options.Timeout);
    private readonly SafeFileHandle _kernel = LentMemory.OpenKernel();
    private string? _gone;
    private VhostUserConnection? _next;

    /// <summary>How long a case may take with all its steps.</summary>
    public TimeSpan MostOfACase { get; init; } = new Patience(options.Timeout).Case;

    /// <summary>Bytes of the front-end's memory that a case uses at most.</summary>
    public ulong MostMemory { get; init; } = TouchedPages.Usual;

    /// <summary>The program that connected, where the system tells.</summary>
    public string Program { get; private set; } = "";

    public async ValueTask DisposeAsync()
    {
        if (_next is { } next)
            await next.DisposeAsync().ConfigureAwait(false);
        _kernel.Dispose();
    }

    public async Task<ConformanceResult> RunAsync(FrontendCase examined, CancellationToken cancellationToken)
    {
        if (examined.Device.Length > 0 && examined.Device != options.Device)
            return CaseFinding.Skipped(examined.Description, $"for a {examined.Device} device only");
        if (_gone is not null)
            return CaseFinding.Skipped(examined.Description, _gone);
        Dialogue dialogue = new();
        long begun = Stopwatch.GetTimestamp();
        CaseFinding finding = await (options.StartCommand is { } command
            ? StartedAsync(examined, dialogue, command, cancellationToken)
            : ConnectedAsync(examined, dialogue, null, cancellationToken)).ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
        return finding.Of(examined.Description, dialogue, Stopwatch.GetElapsedTime(begun));
    }

    private async Task<CaseFinding> StartedAsync(FrontendCase examined, Dialogue dialogue, string command, CancellationToken cancellationToken)
    {
        await DropLateAsync(cancellationToken).ConfigureAwait(false);
        FrontendProcess process = FrontendProcess.Start(command);
        await using (process.ConfigureAwait(false))
        {
            CaseFinding finding = await ConnectedAsync(examined, dialogue, process, cancellationToken).ConfigureAwait(false);
            return await AfterwardsAsync(process, finding, dialogue).ConfigureAwait(false);
        }
    }

    private async Task<CaseFinding> ConnectedAsync(FrontendCase examined, Dialogue dialogue, FrontendProcess? process, CancellationToken cancellationToken)
    {
        VhostUserConnection? connection = _next ?? await AcceptAsync(cancellationToken).ConfigureAwait(false);
        _next = null;
        if (connection is null)
            return await AbsentAsync(process).ConfigureAwait(false);
        (CaseFinding finding, bool wide) = await PlayedAsync(examined, connection, dialogue, cancellationToken).ConfigureAwait(false);
        return process is null ? await ReturnsAsync(examined, finding, wide, dialogue, cancellationToken).ConfigureAwait(false) : finding;
    }

    /// <summary>A front-end that is there for all cases connects again after each; that it does not is the finding of the case before which it still did.</summary>
    private async Task<CaseFinding> ReturnsAsync(FrontendCase examined, CaseFinding finding, bool wide, Dialogue dialogue, CancellationToken cancellationToken)
    {
        if (wide)
            await SettleAsync(cancellationToken).ConfigureAwait(false);
        _next = await AcceptAsync(cancellationToken).ConfigureAwait(false);
        if (_next is not null)
            return finding;
        _gone = $"the front-end did not connect again after {examined.Description.Id}, and there is no --start-command";
        dialogue.Note("the front-end does not connect again");
        return finding.Verdict == ConformanceVerdict.Fail
            ? finding with { Lost = true }
            : new(ConformanceVerdict.Wedged, "the front-end connects again", "it does not");
    }

    /// <summary>
    /// A front-end may hold a back-end that comes back to all that was negotiated with it before (F05), and give it up for a new one if it offers less. Where a case offered more than others, it
    /// does so with a connection that no case looks at.
    /// </summary>
    private async Task SettleAsync(CancellationToken cancellationToken)
    {
        if (await AcceptAsync(cancellationToken).ConfigureAwait(false) is not { } connection)
            return;
        await PlayedAsync(_settling, connection, new Dialogue(), cancellationToken).ConfigureAwait(false);
    }

    /// <summary>A front-end may share a file that never gives what is in it, and so hold up the thread that looks. That is never the thread of the run, which gives the case up.</summary>
    private async Task<(CaseFinding Finding, bool OffersMore)> PlayedAsync(FrontendCase examined, VhostUserConnection connection, Dialogue dialogue, CancellationToken cancellationToken)
    {
        FrontendPeer peer = new(connection, options.Device, dialogue, _patience, _kernel, MostMemory);
        Task<CaseFinding> play = Task.Run(() => PlayAsync(examined, peer), CancellationToken.None);
        CaseFinding finding = await BoundedAsync(play, connection, cancellationToken).ConfigureAwait(false);
        return (finding, peer.Script.OffersMoreThan(new BackendScript(options.Device)));
    }

    /// <summary>What is given up here ends by itself, or never.</summary>
    private async Task<CaseFinding> BoundedAsync(Task<CaseFinding> play, VhostUserConnection connection, CancellationToken cancellationToken)
    {
        try
        {
            return await play.WaitAsync(MostOfACase, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            await connection.DisposeAsync().ConfigureAwait(false); // or the front-end would not connect again
            return CaseFinding.GivenUp(MostOfACase);
        }
    }

    private static async Task<CaseFinding> PlayAsync(FrontendCase examined, FrontendPeer peer)
    {
        try
        {
            await using (peer.ConfigureAwait(false))
            {
                await examined.RunAsync(peer).ConfigureAwait(false);
                return peer.Refusal is { } refusal
                    ? new(ConformanceVerdict.Reject, examined.Description.Title, refusal)
                    : new(ConformanceVerdict.Pass, "", "");
            }
        }
        catch (CaseEndedException ended)
        {
            return new(ended.Verdict, ended.Expected, ended.Came);
        }
        catch (Exception failure) when (OwnFault.Is(failure))
        {
            return CaseFinding.OfTheSuite(failure);
        }
        catch (Exception failure) when (failure is not OutOfMemoryException)
        {
            return new(ConformanceVerdict.Fail, "a front-end whose memory and messages can be used", failure.Message);
        }
    }

    /// <summary>A front-end that ended itself has refused what was said; one that a signal ended has crashed.</summary>
    private async Task<CaseFinding> AfterwardsAsync(FrontendProcess process, CaseFinding finding, Dialogue dialogue)
    {
        if (finding.Verdict == ConformanceVerdict.Reject)
            await process.EndedAsync(FrontendPeer.WatchOf(_patience)).ConfigureAwait(false);
        if (process.CrashSignal is { } signal)
        {
            dialogue.Note($"the front-end was ended by signal {signal}");
            finding = new(ConformanceVerdict.Fail, "the front-end goes on, or ends in an orderly way", $"signal {signal} ended it") { Lost = true };
        }

        if (finding.Verdict is not (ConformanceVerdict.Pass or ConformanceVerdict.Skip))
        {
            foreach (string line in await process.LastWordsAsync().ConfigureAwait(false))
                dialogue.Note($"its standard error: {line}");
        }

        return finding;
    }

    private async Task<CaseFinding> AbsentAsync(FrontendProcess? process)
    {
        if (process is not null)
        {
            string came = process.HasEnded ? "it ended before it connected" : "it does not connect";
            string[] words = await process.LastWordsAsync().ConfigureAwait(false);
            return new(ConformanceVerdict.Fail, "the front-end connects", words is [.., var last] ? $"{came}; the last that it printed: {last}" : came) { Lost = true };
        }

        throw new VhostUserTimeoutException($"{options.SocketPath}: no front-end connected within {options.Timeout.TotalSeconds:0.###} s.");
    }

    /// <summary>What the front-end of the last case still tried before it was ended is not the next one's.</summary>
    private async Task DropLateAsync(CancellationToken cancellationToken)
    {
        long begun = Stopwatch.GetTimestamp();
        while (listener.HasWaiting && Stopwatch.GetElapsedTime(begun) < _patience.Answer)
            await (await listener.AcceptAsync(cancellationToken).ConfigureAwait(false)).DisposeAsync().ConfigureAwait(false);
    }

    private async Task<VhostUserConnection?> AcceptAsync(CancellationToken cancellationToken)
    {
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        deadline.CancelAfter(_patience.Answer);
        try
        {
            VhostUserConnection connection = await listener.AcceptAsync(deadline.Token).ConfigureAwait(false);
            if (Program.Length == 0)
                Program = PeerProgram.NameOf(connection.PeerProcessId);
            return connection;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return null;
        }
    }
}
