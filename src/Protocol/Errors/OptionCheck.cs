using System.Globalization;

namespace Vhost.Protocol;

/// <summary>How options say that a number of theirs is out of range: all with the same words.</summary>
internal static class OptionCheck
{
    /// <exception cref="ArgumentException">It does not hold.</exception>
    /// <param name="holds">What must be.</param>
    /// <param name="name">The option.</param>
    /// <param name="value">What it is.</param>
    /// <param name="allowed">What it may be, in words.</param>
    internal static void Require(bool holds, string name, int value, string allowed)
    {
        if (!holds)
            throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"{name} {value}: must be {allowed}."));
    }
}
