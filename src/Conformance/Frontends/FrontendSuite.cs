using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// Examines a vhost-user front-end: plays a back-end, honest or not, in many small cases, and gives a verdict on what the front-end says and does. Each case is one connection of the front-end.
/// </summary>
/// <remarks>Threading: one run at a time. The progress is called from the run, on whichever thread that is on, for one finding after the other; the run waits until the call returns, so that one that takes long delays the next case, and one that throws ends the run.</remarks>
public sealed class FrontendSuite
{
    private readonly FrontendSuiteOptions _options;

    /// <summary>Makes a suite for one front-end.</summary>
    /// <param name="options">Where it connects and how it is examined.</param>
    /// <exception cref="ArgumentException">The path is empty or too long, the device unknown, the timeout out of range, or no case is meant by the pattern.</exception>
    public FrontendSuite(FrontendSuiteOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        RunLimits.Check(options.SocketPath, options.Device, Devices, options.Timeout);
        Selected = ConformanceCase.Select(Cases, options.Only);
        _options = options;
    }

    /// <summary>All cases, in the order in which they run.</summary>
    public static IReadOnlyList<ConformanceCase> Cases { get; } = [.. FrontendChapters.All.Select(static examined => examined.Description)];

    /// <summary>The words for <see cref="FrontendSuiteOptions.Device"/>.</summary>
    public static IReadOnlyList<string> Devices { get; } = ["blk", "net", "rng"];

    /// <summary>The cases that were asked for, in the order in which they run.</summary>
    public IReadOnlyList<ConformanceCase> Selected { get; }

    /// <summary>Runs the cases that were asked for.</summary>
    /// <param name="progress">Hears of each finding at once; may be null.</param>
    /// <param name="cancellationToken">
    /// Stops the run. The case that is under way is given up and not judged, the ones behind it are not run; the report has them as skipped, and says that it was stopped.
    /// </param>
    /// <returns>The findings.</returns>
    /// <exception cref="VhostUserException">The socket cannot be listened on, or no front-end connected at all.</exception>
    public async Task<ConformanceReport> RunAsync(IProgress<ConformanceResult>? progress = null, CancellationToken cancellationToken = default)
    {
        DateTimeOffset startedAt = DateTimeOffset.Now;
        long begun = Stopwatch.GetTimestamp();
        VhostUserListener listener = VhostUserListener.Listen(_options.SocketPath);
        await using ConfiguredAsyncDisposable closing = listener.ConfigureAwait(false);
        FrontendExamination examination = new(_options, listener);
        await using ConfiguredAsyncDisposable leaving = examination.ConfigureAwait(false);
        RunFindings findings = new(Selected, progress, CommandFor);
        await RunAsync(examination, findings, cancellationToken).ConfigureAwait(false);
        return new ConformanceReport
        {
            Peer = new() { Role = "front-end", Socket = _options.SocketPath, Device = _options.Device, Program = examination.Program },
            Results = findings.Results,
            StartedAt = startedAt,
            Elapsed = Stopwatch.GetElapsedTime(begun),
            Seed = 0,
            Stopped = findings.Stopped,
            Environment = RunEnvironment.Describe(),
        };
    }

    private async Task RunAsync(FrontendExamination examination, RunFindings findings, CancellationToken cancellationToken)
    {
        HashSet<ConformanceCase> selected = [.. Selected];
        try
        {
            foreach (FrontendCase examined in FrontendChapters.All.Where(examined => selected.Contains(examined.Description)))
            {
                findings.Begin(cancellationToken);
                findings.Add(await examination.RunAsync(examined, cancellationToken).ConfigureAwait(false));
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            findings.Stop();
        }
    }

    private string CommandFor(ConformanceCase description)
    {
        string start = _options.StartCommand is { } command ? $" --start-command {ShellWord.Of(command)}" : "";
        return string.Create(
            CultureInfo.InvariantCulture,
            $"vhost-user test-frontend --socket-path {ShellWord.Of(_options.SocketPath)} --device {_options.Device} --only {description.Id} --timeout {_options.Timeout.TotalSeconds:0.###}{start}");
    }
}
