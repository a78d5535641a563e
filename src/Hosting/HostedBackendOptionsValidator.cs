using System.Globalization;
using Microsoft.Extensions.Options;

namespace Vhost.Backend.Hosting;

/// <summary>Names each option that is out of its range, with value and range.</summary>
internal sealed class HostedBackendOptionsValidator(string backend) : IValidateOptions<HostedBackendOptions>
{
    private const int MaxProcessor = 1023;
    private static readonly TimeSpan _longest = TimeSpan.FromDays(1);

    public ValidateOptionsResult Validate(string? name, HostedBackendOptions options)
    {
        if (name != backend)
            return ValidateOptionsResult.Skip;
        string[] complaints = [.. Complaints(options).Select(complaint => $"Back-end '{backend}': {complaint}")];
        return complaints.Length == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(complaints);
    }

    private static IEnumerable<string> Complaints(HostedBackendOptions options)
    {
        if (options.SocketPath is { Length: 0 })
            yield return "SocketPath '': must name a path.";
        if (options.Client && options.SocketPath is null)
            yield return "Client true: needs SocketPath, where the front-end listens.";
        if (options.Client && (options.SocketMode is not null || options.SocketGroup is not null))
            yield return "Client true: SocketMode and SocketGroup are about a socket file of our own.";
        if (!Enum.IsDefined(options.Dispatch))
            yield return string.Create(CultureInfo.InvariantCulture, $"Dispatch {(int)options.Dispatch}: must be one of {string.Join(", ", Enum.GetNames<QueueDispatch>())}.");
        if (options.DrainTimeout <= TimeSpan.Zero || options.DrainTimeout > _longest)
            yield return $"DrainTimeout {options.DrainTimeout}: must be more than 00:00:00, at most {_longest}.";
        foreach (int processor in options.Processors.Where(processor => processor is < 0 or > MaxProcessor))
            yield return string.Create(CultureInfo.InvariantCulture, $"Processors {processor}: must be 0 to {MaxProcessor}.");
    }
}
