using System.Diagnostics;
using System.Globalization;
using System.Runtime.CompilerServices;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>
/// Examines a vhost-user front-end: plays a back-end, honest or not, in many small cases, and gives a verdict on what the front-end says and does. Each case is one connection of the front-end.
/// </summary>
/// <remarks>Threading: one run at a time; the progress is reported from the run.</remarks>
public sealed class FrontendSuite
{
    private static readonly string[] _devices = ["blk", "net", "rng"];

    private readonly FrontendSuiteOptions _options;

    /// <summary>Makes a suite for one front-end.</summary>
    /// <param name="options">Where it connects and how it is examined.</param>
    /// <exception cref="ArgumentException">The device is unknown, or no case has the pattern.</exception>
    public FrontendSuite(FrontendSuiteOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (!_devices.Contains(options.Device, StringComparer.Ordinal))
            throw new ArgumentException($"Device '{options.Device}': must be one of {string.Join(", ", _devices)}.", nameof(options));
        if (!Cases.Any(description => CasePattern.Matches(options.Only, description.Id)))
            throw new ArgumentException($"No case has the pattern '{options.Only}'.", nameof(options));
        _options = options;
    }

    /// <summary>All cases, in the order in which they run.</summary>
    public static IReadOnlyList<ConformanceCase> Cases { get; } = [.. FrontendChapters.All.Select(static examined => examined.Description)];

    /// <summary>Runs the cases that were asked for.</summary>
    /// <param name="progress">Hears of each finding at once; may be null.</param>
    /// <param name="cancellationToken">Ends the run after the case that is under way.</param>
    /// <returns>The findings.</returns>
    /// <exception cref="VhostUserException">The socket cannot be listened on.</exception>
    /// <exception cref="OperationCanceledException">The run was cancelled.</exception>
    public async Task<ConformanceReport> RunAsync(IProgress<ConformanceResult>? progress = null, CancellationToken cancellationToken = default)
    {
        DateTimeOffset startedAt = DateTimeOffset.Now;
        long begun = Stopwatch.GetTimestamp();
        VhostUserListener listener = VhostUserListener.Listen(_options.SocketPath);
        await using ConfiguredAsyncDisposable closing = listener.ConfigureAwait(false);
        FrontendExamination examination = new(_options, listener);
        await using ConfiguredAsyncDisposable leaving = examination.ConfigureAwait(false);
        List<ConformanceResult> results = [];
        foreach (FrontendCase examined in FrontendChapters.All.Where(examined => CasePattern.Matches(_options.Only, examined.Description.Id)))
        {
            cancellationToken.ThrowIfCancellationRequested();
            ConformanceResult result = await examination.RunAsync(examined, cancellationToken).ConfigureAwait(false);
            results.Add(result with { Command = CommandFor(examined.Description) });
            progress?.Report(results[^1]);
        }

        return new ConformanceReport
        {
            Peer = new() { Role = "front-end", Socket = _options.SocketPath, Device = _options.Device, Program = examination.Program },
            Results = results,
            StartedAt = startedAt,
            Elapsed = Stopwatch.GetElapsedTime(begun),
            Seed = 0,
            Environment = RunEnvironment.Describe(),
        };
    }

    private string CommandFor(ConformanceCase description)
    {
        string start = _options.StartCommand is { } command ? $" --start-command {ShellWord.Of(command)}" : "";
        return string.Create(
            CultureInfo.InvariantCulture,
            $"vhost-user test-frontend --socket-path {ShellWord.Of(_options.SocketPath)} --device {_options.Device} --only {description.Id} --timeout {_options.Timeout.TotalSeconds:0.###}{start}");
    }
}
